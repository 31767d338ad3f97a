"""What must stay finite is watched on the device, and looked at now and then: the step waits for nothing."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm


class Watch:
    """Remembers named scalars of each step since it was last looked at, in one tensor (vaegan.training.memory says why)."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._steps: list[int] = []
        self._values = torch.empty(0, 0)  # a row for each step, and room for more

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """One step's values, each a scalar. The same names every time."""
        self._names = list(values)
        row = torch.stack([value.detach() for value in values.values()])
        count = len(self._steps)
        if count == 0:
            self._values = row.new_empty(256, len(row))
        elif count == len(self._values):
            self._values = torch.cat([self._values, torch.empty_like(self._values)])
        self._values[count] = row
        self._steps.append(step)

    def take_first_not_finite(self) -> tuple[str, int, float] | None:
        """(name, step, value) of the first that is not finite, if any, and start over; one transfer from the device."""
        steps, self._steps = self._steps, []
        values = self._values[: len(steps)].tolist()
        for step, row in zip(steps, values, strict=True):
            for name, value in zip(self._names, row, strict=True):
                if not math.isfinite(value):
                    return name, step, value
        return None


def gradient_sum(parameters: list[nn.Parameter]) -> Tensor:
    """A sum that is not finite if the gradient is not.

    Only biases and BatchNorm's weights are read: a layer's output gradient that is not finite makes them so, and they are
    a thousand times fewer than the weight matrices.
    """
    return torch.cat([p.grad for p in parameters if p.dim() == 1 and p.grad is not None]).sum()


def first_not_finite(state: dict[str, Tensor]) -> str | None:
    """The name of the first tensor of a model's state that holds a value that is not finite."""
    floats = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    if math.isfinite(get_total_norm(list(floats.values())).item()):
        return None
    return next((name for name, tensor in floats.items() if not tensor.isfinite().all()), None)
