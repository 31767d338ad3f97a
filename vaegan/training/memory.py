"""Will it fit? Asked before anything is allocated. And how freed memory is kept for the next step."""

import ctypes
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.networks import NUM_PIXELS

_BYTES_PER_PARAMETER = 12  # float32 weight and Adam's two moments
_BYTES_PER_GRADIENT = 4
_MANY_PARAMETERS = 10**8  # so many that it costs nothing to call Adam for each tensor alone
_BYTES_PER_BF16_COPY = 2  # of each weight, which autocast makes for a step
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # from <malloc.h>
_PEAK_OF_KEPT_MEMORY = 1.4  # times what is needed
_BYTES_BESIDE_TRAINING = 5 * 10**8  # what libraries may come to need while training goes on
_SECONDS_BETWEEN_LOOKS = 1.0


def moves_one_by_one(config: Config, num_parameters: int) -> bool:
    """Is each weight of encoder and decoder moved as soon as its gradient is known, which is then freed?"""
    if config.train.compile:
        return False
    return num_parameters >= _MANY_PARAMETERS if config.train.low_memory is None else config.train.low_memory


def needed_bytes(config: Config, num_parameters: int) -> int:
    """Parameters with gradients and Adam state, plus the hidden activations that a step keeps for its gradients."""
    model, objective = config.model, config.objective
    passes = ("reconstruction" in objective.weights) * 2 + (objective.fakes in ("prior", "both"))
    gradients = num_parameters
    if moves_one_by_one(config, num_parameters):
        # The largest matrix's; or, of two passes through the decoder, both of one and the last layer's of the other.
        decoders = [2 * NUM_PIXELS + model.latent_dim] if passes == 3 else []
        gradients = model.hidden_dim * max(NUM_PIXELS, 2 * model.latent_dim, *decoders)
    kept_per_pass = 2 + model.batch_norm  # the linear layer's output, BatchNorm's, ReLU's
    activations = 4 * config.data.batch_size * model.hidden_dim * passes * kept_per_pass
    copies = _BYTES_PER_BF16_COPY * (config.trainer.precision == "bf16-mixed")
    return (_BYTES_PER_PARAMETER + copies) * num_parameters + _BYTES_PER_GRADIENT * gradients + activations


def available_bytes(device: torch.device) -> int:
    """Memory free on `device`; on a CPU the system's, or less if the process's cgroup allows less."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = psutil.virtual_memory().available
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no cgroup, or "max"
        return free
    return min(free, limit - used)


def check_memory(config: Config, num_parameters: int, device: torch.device) -> None:
    """Raises UserError with the estimate if training would not fit."""
    needed, available = _needed_on(device, config, num_parameters), available_bytes(device)
    if needed > available:
        frugal = replace(config, train=replace(config.train, low_memory=True, compile=False))
        least = _needed_on(device, frugal, num_parameters)
        off = " without train.compile" if config.train.compile else ""
        remedy = f"; train.low_memory=true{off} needs about {least / 1e9:.1f} GB" if least <= available else ""
        raise UserError(
            f"model.latent_dim={config.model.latent_dim} with model.hidden_dim={config.model.hidden_dim} at "
            f"data.batch_size={config.data.batch_size} needs about {needed / 1e9:.1f} GB ({num_parameters:,} parameters with "
            f"gradients and Adam state, and activations), but {available / 1e9:.1f} GB are free on {device}; choose less of "
            f"any of the three{remedy}."
        )


def has_room_to_spare(config: Config, num_parameters: int, device: torch.device) -> bool:
    """Would the higher peak that keep_freed_memory costs still fit?"""
    return _PEAK_OF_KEPT_MEMORY * _needed_on(device, config, num_parameters) < available_bytes(device)


def _needed_on(device: torch.device, config: Config, num_parameters: int) -> int:
    """By all processes that share the device's memory: on a CPU those of all trainer.devices."""
    return needed_bytes(config, num_parameters) * (config.trainer.devices if device.type == "cpu" else 1)


class KeptMemory(Callback):
    """Lets the process keep the memory it frees, for the next step's tensors, as long as that stays within bounds.

    By default glibc gives every large tensor back to the system when it is freed, and a step on a CPU spends time, the more
    the larger the tensors, having the same pages handed out and cleared again. The price is a peak up to a fifth higher,
    which stays until the process ends. And a tensor that somebody keeps from each step, be it a scalar, can come to lie where
    a large one of the next step would have fitted, so that memory grows with each: then it is given back again from there on.
    """

    def __init__(self, config: Config, num_parameters: int, say: Callable[[str], None]):
        self._most = (
            _held_bytes() + _PEAK_OF_KEPT_MEMORY * needed_bytes(config, num_parameters) + _BYTES_BESIDE_TRAINING
        )
        self._say = say
        self._looked = 0.0
        self._has_grown_before = False
        self.is_kept = keep_freed_memory()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        now = time.monotonic()
        if self.is_kept and now - self._looked > _SECONDS_BETWEEN_LOOKS:
            self._looked = now
            if (held := _held_bytes()) > self._most:
                self._has_grown(held)

    def _has_grown(self, held: int) -> None:
        """Once that may be what loading a checkpoint left."""
        give_freed_memory_back()
        self.is_kept = not self._has_grown_before and keep_freed_memory()
        self._has_grown_before = True
        if not self.is_kept:
            self._say(
                f"memory      {held / 1e9:.1f} GB, more than expected: what is freed goes back to the system from here on, and "
                f"steps take longer; a callback that keeps a tensor of each step can cause that (a number does not)"
            )


def keep_freed_memory() -> bool:
    """Let this process keep the memory it frees; true if the system's malloc can be told."""
    return _tell_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1})


def give_freed_memory_back() -> None:
    """The reverse: what is free goes back to the system, and so does each large tensor when it is freed."""
    if _tell_malloc({_M_MMAP_MAX: 65536, _M_MMAP_THRESHOLD: 2**17, _M_TRIM_THRESHOLD: 2**17}):
        ctypes.CDLL(None).malloc_trim(0)


def _tell_malloc(options: dict[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) for option, value in options.items())


def _held_bytes() -> int:
    """Memory of this process's own; pages of files, such as images on disk, are not."""
    info = psutil.Process().memory_info()
    return info.rss - getattr(info, "shared", 0)
