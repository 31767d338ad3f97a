"""Adam (Kingma and Ba, 2015) as torch computes it, with less done around it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam


class FusedAdam(Adam):
    """torch.optim.Adam(fused=True), to the bit, in less time where the weights are few.

    torch's own looks in every step at each parameter and its state, sorts them by device, counts the steps of each apart, and
    asks whether a GPU is recording; for the paper's networks at d = 2 that takes longer than moving the weights. Here it is
    done once. Where that can't be (a first step, a parameter without a gradient) torch's own is called.

    There is one group of parameters, and no amsgrad. State and state_dict are torch's; the counts of steps are views of one
    tensor.
    """

    _moments: tuple[list[Tensor], list[Tensor]] | None = None  # first and second, as they are in `state`
    _steps: Tensor | None = None  # (number of parameters,)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient; returns what `closure`, called before, returned."""
        result = None
        if closure is not None:
            with torch.enable_grad():
                result = closure()
        (group,) = self.param_groups
        parameters = group["params"]
        gradients = [parameter.grad for parameter in parameters]
        if any(gradient is None for gradient in gradients) or not self._knows_state_of(parameters):
            super().step()
            return result
        self._steps.add_(1)
        beta1, beta2 = group["betas"]
        torch._fused_adam_(
            parameters,
            gradients,
            *self._moments,
            [],
            list(self._steps.unbind()),
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._moments = None

    def _knows_state_of(self, parameters: list[Tensor]) -> bool:
        """Whether all have a state by now, which `_moments` and `_steps` are then."""
        if len(self.state) < len(parameters):
            return False
        if self._moments is None or self._moments[0][0] is not self.state[parameters[0]]["exp_avg"]:
            states = [self.state[parameter] for parameter in parameters]
            self._moments = tuple([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
            self._steps = torch.stack([state["step"] for state in states])
            for state, step in zip(states, self._steps.unbind(), strict=True):
                state["step"] = step
        return True

    def _accelerator_graph_capture_health_check(self) -> None:
        """Not asked: without a GPU the answer takes 0.4 ms."""
