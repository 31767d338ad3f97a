"""How close restored images come to the clean ones: squared error, peak signal-to-noise ratio and structural similarity.

Images are flat, (B, 784), the clean ones in [0, 1]; every function gives one value per image.
"""

import torch
from torch import Tensor

from vaegan.data.batches import EVALUATION_BATCH
from vaegan.evaluation.result import Metric, mean

SIDE = 28
_WINDOW = 11
_WINDOW_STD = 1.5
_ROUNDING_MSE = 1 / (12 * 255**2)  # of images rounded to 8 bits


def mse(x: Tensor, y: Tensor) -> Tensor:
    """Squared error, mean over pixels, (B,)."""
    return (x - y).square().mean(dim=1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """10 log10(1 / MSE) for a peak of 1, dB, (B,).

    58.9 dB at most: an MSE counts as at least what rounding to 8 bits alone would cost, so that a mean over images has no
    infinity in it.
    """
    return -10 * mse(x, y).clamp(min=_ROUNDING_MSE).log10()


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, at most 1, (B,) float64 (Wang et al. 2004, eq. 13; their constants and Gaussian window).

    Mean over the 18 x 18 places where the 11 x 11 window lies within the image. torchmetrics reflects the border and
    averages over it too, which moves a noisy digit by up to 0.3.
    """
    # float64, because variances are differences of nearly equal numbers, which TF32 matrix products would spoil.
    x, y = (images.double().unflatten(1, (SIDE, SIDE)) for images in (x, y))
    weights = _window(x.device)

    def local_mean(images: Tensor) -> Tensor:
        return weights @ images @ weights.T

    mean_x, mean_y = local_mean(x), local_mean(y)
    variances = local_mean(x * x) + local_mean(y * y) - mean_x**2 - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2) / ((mean_x**2 + mean_y**2 + c1) * (variances + c2))
    return similarity.mean(dim=(1, 2))


def restoration(x: Tensor, restored: Tensor) -> dict[str, Metric]:
    """All three, of clean images x and their restorations; PSNR is the mean of the images' own."""
    batches = zip(x.split(EVALUATION_BATCH), restored.split(EVALUATION_BATCH), strict=True)
    return {
        "mse": mean(mse(x, restored), "per pixel"),
        "psnr": mean(psnr(x, restored), "dB"),
        "ssim": mean(torch.cat([ssim(*pair) for pair in batches]), "index"),
    }


def _window(device: torch.device) -> Tensor:
    """(18, 28): row i weighs the pixels of a line for the window's i-th place, and sums to 1. Separable: W image W'."""
    offsets = torch.arange(_WINDOW, dtype=torch.float64, device=device) - _WINDOW // 2
    kernel = (-offsets.square() / (2 * _WINDOW_STD**2)).exp()
    num_places = SIDE - _WINDOW + 1
    weights = torch.zeros(num_places, SIDE, dtype=torch.float64, device=device)
    for place in range(num_places):
        weights[place, place : place + _WINDOW] = kernel / kernel.sum()
    return weights
