import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.data.corruption import corrupt
from vaegan.evaluation.restoration import mse, psnr, restoration, ssim


def digits_and_noise(sigma: float, clip: bool) -> tuple[torch.Tensor, torch.Tensor]:
    x = pixels(torch.from_numpy(sources.load("digits", None).test_images[:30]))
    return x, corrupt(x, torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), sigma, clip)


def test_one_pixel_in_784_off_by_a_half():
    x = torch.zeros(2, 784)
    y = x.clone()
    y[1, 5] = 0.5
    assert mse(x, y).tolist() == pytest.approx([0, 0.25 / 784])
    assert psnr(x, y)[1].item() == pytest.approx(10 * math.log10(784 / 0.25), rel=1e-6)


def test_every_pixel_off_by_a_tenth_is_20_db():
    x = torch.full((1, 784), 0.3)
    assert psnr(x, x + 0.1).item() == pytest.approx(20, abs=1e-4)


def test_psnr_ends_at_what_rounding_to_8_bits_costs():
    x = torch.rand(1000, 784, generator=torch.Generator().manual_seed(0))
    rounded = (x * 255).round() / 255
    assert psnr(x, x).tolist() == pytest.approx([58.92] * 1000, abs=0.01)
    assert -10 * math.log10(mse(x, rounded).mean()) == pytest.approx(psnr(x, x)[0].item(), abs=0.01)


@pytest.mark.parametrize(("sigma", "clip"), [(0.05, True), (0.5, True), (1.0, False)])
def test_psnr_and_ssim_are_those_of_scikit_image(sigma, clip):
    x, y = digits_and_noise(sigma, clip)
    pairs = [
        (a, b) for a, b in zip(x.double().view(-1, 28, 28).numpy(), y.double().view(-1, 28, 28).numpy(), strict=True)
    ]
    decibels = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    similarities = [
        structural_similarity(a, b, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in pairs
    ]
    assert psnr(x, y).tolist() == pytest.approx(decibels, abs=1e-5)
    assert ssim(x, y).tolist() == pytest.approx(similarities, abs=1e-12)


def test_ssim_is_1_for_the_image_itself_and_symmetric_and_negative_for_its_negative():
    x, y = digits_and_noise(0.5, True)
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 30, abs=1e-12)
    assert ssim(x, y).tolist() == pytest.approx(ssim(y, x).tolist(), abs=1e-12)
    assert (ssim(x, 1 - x) < 0).all()


def test_ssim_of_two_flat_images_compares_their_brightness_alone():
    black, grey = torch.zeros(1, 784), torch.full((1, 784), 0.5)
    assert ssim(black, grey).item() == pytest.approx(1e-4 / (0.25 + 1e-4))


def test_restoration_is_the_mean_over_all_images_whatever_the_batches():
    x, y = digits_and_noise(0.5, True)
    x, y = x.repeat(20, 1), y.repeat(20, 1)  # more than one batch
    metrics = restoration(x, y)
    assert {name: (metric.unit, metric.n) for name, metric in metrics.items()} == {
        "mse": ("per pixel", 600),
        "psnr": ("dB", 600),
        "ssim": ("index", 600),
    }
    for name, measure in {"mse": mse, "psnr": psnr, "ssim": ssim}.items():
        values = measure(x, y).double().numpy()
        assert metrics[name].value == pytest.approx(values.mean())
        assert metrics[name].standard_error == pytest.approx(np.std(values, ddof=1) / math.sqrt(600))
