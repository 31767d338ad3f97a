"""One run on several devices: each process computes its share of every batch, and the gradients are averaged.

Losses, gradients and BatchNorm statistics are those of the whole batch, so `trainer.devices` changes how long a run takes
and nothing else (but for rounding, and for which hidden units dropout drops).
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Group:
    """The processes of a run, and which of them this one is; a run on one device has one."""

    rank: int = 0
    size: int = 1

    def share(self, tensor: Tensor | None) -> Tensor | None:
        """This process's rows of a batch (B, n): (B / size, n)."""
        return tensor if tensor is None or self.size == 1 else tensor[self.rank :: self.size].contiguous()

    def average(self, tensors: list[Tensor]) -> list[Tensor]:
        """The mean of each tensor over the processes, the same to the last bit in each."""
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]) / self.size
        dist.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view_as(tensor) for part, tensor in zip(parts, tensors, strict=True)]

    def average_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace each parameter's gradient by its mean over the processes."""
        if self.size > 1:
            means = self.average([parameter.grad for parameter in parameters])
            for parameter, mean in zip(parameters, means, strict=True):
                parameter.grad.copy_(mean)

    def synchronize_batch_norm(self, model: nn.Module) -> None:
        """Let the BatchNorm layers of `model` take their statistics from the batches of all processes."""
        if self.size > 1:
            for parent in list(model.modules()):
                for name, layer in parent.named_children():
                    if isinstance(layer, nn.BatchNorm1d):
                        setattr(parent, name, SharedBatchNorm.of(layer))


ALONE = Group()


class SharedBatchNorm(nn.BatchNorm1d):
    """BatchNorm1d over the batches of all processes. (torch's SyncBatchNorm does not run on a CPU.)"""

    @classmethod
    def of(cls, layer: nn.BatchNorm1d) -> "SharedBatchNorm":
        """A layer with the parameters and statistics of `layer`."""
        shared = cls(layer.num_features, layer.eps, layer.momentum)
        shared.__dict__.update(layer.__dict__)
        return shared

    def forward(self, x: Tensor) -> Tensor:
        """x (B, n) -> (B, n); the same B in each process."""
        if not self.training:
            return super().forward(x)
        x = x.float()
        count = len(x) * dist.get_world_size()
        mean = _Sum.apply(x.sum(0)) / count
        variance = _Sum.apply((x - mean).square().sum(0)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


class _Sum(torch.autograd.Function):
    """The sum over the processes; each one's loss depends on every one's input, so its gradient is summed as well."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return _Sum.forward(context, gradient)
