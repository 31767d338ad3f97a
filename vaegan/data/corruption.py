"""What makes an input noisy (paper, 4.2); the target stays clean."""

from torch import Tensor


def corrupt(x: Tensor, noise: Tensor, noise_std: float, clip: bool) -> Tensor:
    """x (B, 784) in [0, 1] + noise_std * noise, noise ~ N(0, 1); clipped to [0, 1] on request."""
    noisy = x + noise_std * noise
    return noisy.clamp_(0, 1) if clip else noisy
