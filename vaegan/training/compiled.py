"""A step's losses and gradients as one compiled graph, in place of some hundred small operations started one by one."""

import logging
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torch.fx.experimental.proxy_tensor import make_fx

from vaegan.data.sources import cache_folder
from vaegan.errors import UserError


class Compiled:
    """`gradients` for batches of one shape, compiled by torch; batches of another shape go the plain way.

    make_fx writes down every operation of forward pass and gradients, so that one graph holds all of them and needs no
    autograd; torch.compile then merges the small ones. (Given the function itself, it would compile the forward pass, and
    both backward passes of everything.) The results are those of `gradients` but for rounding.

    The first call compiles, and raises UserError where torch can't.
    """

    def __init__(self, gradients: Callable[..., Any], model: nn.Module, batch: tuple[Tensor | None, ...]):
        """`gradients` of `model` is tried on `batch`, which is like all that follow; BatchNorm's statistics stay as they are."""
        self._gradients, self._shape, self._device = gradients, batch[0].shape, batch[0].device
        before = [buffer.clone() for buffer in model.buffers()]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            graph = make_fx(gradients)(*batch)
        for buffer, value in zip(model.buffers(), before, strict=True):
            buffer.copy_(value)
        # torch would keep compiled code in a folder of /tmp whose name others can guess, and run what it finds there. (Nor is it
        # $VAEGAN_DATA, which may be shared.)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # a GPU build warns that there is no GPU
        # Guards would ask in every call whether all is as it was; only the batch's shape could change, and __call__ asks for
        # that. Without guards it must be `forward`, of which each graph has its own code: torch finds what it compiled by that.
        options = {"fallback_random": True, "guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
        self._graph = torch.compile(graph.forward, fullgraph=True, dynamic=False, options=options)

    def __call__(self, *batch: Tensor | None) -> Any:
        if batch[0].shape != self._shape:
            return self._gradients(*batch)
        try:
            # The graph holds all of autocast's conversions.
            with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
                return self._graph(*batch)
        except TorchDynamoException as error:
            raise UserError(
                f"train.compile=true, but torch could not compile the step here ({_first_line(error)}); on a CPU that takes a "
                f"C++ compiler such as g++: install one, or leave train.compile=false."
            ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
