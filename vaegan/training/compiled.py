"""A step's losses and gradients as one compiled graph, in place of some hundred small operations started one by one."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch._inductor import standalone_compile
from torch._inductor.exc import InductorError
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from vaegan.data.sources import cache_folder
from vaegan.errors import UserError


class Compiled:
    """`gradients` for batches of one shape, compiled by torch; batches of another shape go the plain way.

    make_fx writes down every operation of forward pass and gradients, so that one graph holds all of them and needs no
    autograd; torch's compiler then merges the small ones. (torch.compile would write the step down itself, and both backward
    passes of everything; and it would ask before each step whether anything has changed, where only the batch's shape can.)
    The results are those of `gradients` but for rounding.
    """

    def __init__(self, gradients: Callable[..., Any], model: nn.Module, batch: tuple[Tensor | None, ...]):
        """Compile `gradients` of `model` by trying it on `batch`, which leaves BatchNorm's statistics as they are.

        Raises:
            UserError: torch can't compile here.
        """
        self._gradients, self._shape, self._device = gradients, batch[0].shape, batch[0].device
        # By default torch runs what it finds in a folder of /tmp whose name others can guess. (Nor is it $VAEGAN_DATA, which may
        # be shared.) That default is in the environment as soon as torch's compiler has been imported.
        if os.environ.get("TORCHINDUCTOR_CACHE_DIR") in (None, os.path.abspath(default_cache_dir())):
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_folder() / "compiled")
        quieten()
        options = {
            "fallback_random": True,  # dropout as without compiling
            "cpp.threads": torch.get_num_threads(),  # so that code for another number is not taken from the cache
            "cpp_cache_precompile_headers": False,  # these would be kept in /tmp all the same
        }
        generators = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=generators), _signals_wait():
            graph = self._written_down(batch, model)
            try:
                with self._as_written():
                    self._graph = standalone_compile(
                        graph,
                        _tensors(batch),
                        dynamic_shapes="from_example_inputs",
                        options={"config_patches": options},
                        donate_graph_module=True,  # a copy would have weights of its own
                    )
            except InductorError as error:
                raise UserError(
                    f"train.compile=true, but torch could not compile the step here ({_first_line(error)}); on a CPU that takes "
                    f"a C++ compiler such as g++, and {os.environ['TORCHINDUCTOR_CACHE_DIR']}, which must be writable and may "
                    f"be deleted; or leave train.compile=false."
                ) from error

    def __call__(self, *batch: Tensor | None) -> Any:
        if batch[0].shape != self._shape:
            return self._gradients(*batch)
        with self._as_written():
            return pytree.tree_unflatten(self._graph(*_tensors(batch)), self._structure)

    def _written_down(self, batch: tuple[Tensor | None, ...], model: nn.Module) -> GraphModule:
        """The graph of `gradients`: it takes the batch's tensors, and gives those of its result, in `_structure`."""

        def flat(*tensors: Tensor) -> list[Tensor]:
            given = iter(tensors)
            results = self._gradients(*(None if of is None else next(given) for of in batch))
            flattened, self._structure = pytree.tree_flatten(results)
            return flattened

        before = [buffer.clone() for buffer in model.buffers()]
        graph = make_fx(flat)(*_tensors(batch))
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
        return graph

    @contextmanager
    def _as_written(self) -> Iterator[None]:
        """The graph holds all gradients, and all of autocast's conversions."""
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            yield


def quieten() -> None:
    """torch.utils.cpp_extension of a build for GPUs would warn that there is no GPU."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


def _tensors(batch: tuple[Tensor | None, ...]) -> list[Tensor]:
    return [tensor for tensor in batch if tensor is not None]


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM come afterwards. (The compilers that this process starts inherit that; else Ctrl-C would end them.)"""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
