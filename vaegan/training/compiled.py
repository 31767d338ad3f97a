"""A step's losses and gradients as one compiled graph, in place of some hundred small operations started one by one."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from torch.fx.experimental.proxy_tensor import make_fx

from vaegan.data.sources import cache_folder
from vaegan.errors import UserError


class Compiled:
    """`gradients` for batches of one shape, compiled by torch; batches of another shape go the plain way.

    make_fx writes down every operation of forward pass and gradients, so that one graph holds all of them and needs no
    autograd; torch.compile then merges the small ones. (Given the function itself, it would compile the forward pass, and
    both backward passes of everything.) The results are those of `gradients` but for rounding.
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
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a GPU build warns that there is no GPU
        options = {
            "fallback_random": True,  # dropout as without compiling
            "cpp.threads": torch.get_num_threads(),  # so that code for another number is not taken from the cache
            "cpp_cache_precompile_headers": False,  # these would be kept in /tmp all the same
            # Guards would ask in every call whether all is as it was; only the batch's shape could change, and __call__ asks
            # for that. Without guards it must be `forward`, of which each graph has its own code: torch finds what it compiled
            # by that.
            "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
        }
        before = [buffer.clone() for buffer in model.buffers()]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []), _signals_wait():
            graph = make_fx(gradients)(*batch)
            self._graph = torch.compile(graph.forward, fullgraph=True, dynamic=False, options=options)
            try:
                self(*batch)
            except TorchDynamoException as error:
                raise UserError(
                    f"train.compile=true, but torch could not compile the step here ({_first_line(error)}); on a CPU that takes "
                    f"a C++ compiler such as g++, and {os.environ['TORCHINDUCTOR_CACHE_DIR']}, which must be writable and may "
                    f"be deleted; or leave train.compile=false."
                ) from error
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)

    def __call__(self, *batch: Tensor | None) -> Any:
        if batch[0].shape != self._shape:
            return self._gradients(*batch)
        # The graph holds all of autocast's conversions.
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            return self._graph(*batch)


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
