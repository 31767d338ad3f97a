import pytest
import torch

from vaegan.data.corruption import corrupt

NOISE = torch.randn(200, 784, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise_std", [0.25, 0.5, 1.0])
def test_unclipped_noise_has_the_stated_spread_and_no_bias(noise_std):
    x = torch.rand(200, 784)
    difference = corrupt(x, NOISE, noise_std, clip=False) - x
    assert difference.mean().item() == pytest.approx(0, abs=0.005)
    assert difference.std().item() == pytest.approx(noise_std, rel=0.01)


def test_clipped_noise_stays_in_the_unit_interval_and_else_is_the_same():
    x = torch.rand(200, 784)
    noisy, clipped = corrupt(x, NOISE, 0.5, clip=False), corrupt(x, NOISE, 0.5, clip=True)
    assert torch.equal(clipped, noisy.clamp(0, 1))
    assert noisy.min() < 0 < 1 < noisy.max()


def test_the_clean_image_is_left_alone():
    x = torch.rand(200, 784)
    before = x.clone()
    corrupt(x, NOISE, 0.5, clip=True)
    assert torch.equal(x, before)
