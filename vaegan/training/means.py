"""Means over an epoch that stay on the device until it ends."""

from typing import Any

import torch
from torch import Tensor


class RunningMeans:
    """The mean of named scalars and vectors over batches, weighted; one transfer from the device when taken."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._sum: Tensor | None = None  # every value, end to end
        self._weight = 0

    def add(self, values: dict[str, Tensor], weight: int) -> None:
        """Add one batch's values, each a scalar or (n,), with the weight `weight`. The same names every time."""
        flat = torch.cat([value.detach().reshape(-1) for value in values.values()])
        self._sizes = {name: value.numel() if value.dim() else 0 for name, value in values.items()}
        self._sum = flat * weight if self._sum is None else self._sum.to(flat.device).add_(flat, alpha=weight)
        self._weight += weight

    def take(self) -> dict[str, float | list[float]]:
        """The means as plain floats (a list for a vector), and start over. Empty if nothing was added."""
        if self._sum is None:
            return {}
        flat = (self._sum / self._weight).tolist()
        self._sum, self._weight = None, 0
        means: dict[str, float | list[float]] = {}
        for name, size in self._sizes.items():
            means[name] = flat[:size] if size else flat[0]
            flat = flat[max(size, 1) :]
        return means

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on inside an epoch."""
        return {"sizes": self._sizes, "sum": self._sum, "weight": self._weight}

    def restore(self, state: dict[str, Any]) -> None:
        self._sizes, self._sum, self._weight = state["sizes"], state["sum"], state["weight"]
