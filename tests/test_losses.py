"""Every term against hand values, and against torch's own distributions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from vaegan import losses


def test_reconstruction_at_logit_zero_is_log_two_a_pixel():
    assert losses.reconstruction(torch.zeros(3, 784), torch.rand(3, 784)).item() == pytest.approx(784 * math.log(2))


def test_reconstruction_by_hand():
    # One image of two pixels: x = 1 at probability 3/4, x = 0 at probability 1/4: -log 3/4 twice.
    logits = torch.tensor([[math.log(3), -math.log(3)]])
    assert losses.reconstruction(logits, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(-2 * math.log(0.75))


def test_reconstruction_sums_over_pixels_and_averages_over_images():
    logits, x = torch.randn(5, 784), torch.rand(5, 784)
    per_image = F.binary_cross_entropy(logits.double().sigmoid(), x.double(), reduction="none").sum(dim=1)
    torch.testing.assert_close(losses.reconstruction(logits, x), per_image.mean().float())
    torch.testing.assert_close(
        losses.reconstruction(logits.repeat(3, 1), x.repeat(3, 1)), losses.reconstruction(logits, x)
    )


@pytest.mark.parametrize("logit, x", [(60.0, 0.0), (-120.0, 1.0)])
def test_reconstruction_gradient_lives_where_the_sigmoid_saturates(logit, x):
    logits = torch.full((1, 1), logit, requires_grad=True)
    losses.reconstruction(logits, torch.full((1, 1), x)).backward()
    assert logits.grad.item() == pytest.approx(1.0 - 2 * x)  # sigmoid(l) - x


def test_reconstruction_gradient_is_sigmoid_minus_x():
    logits, x = torch.randn(4, 784, requires_grad=True), torch.rand(4, 784)
    losses.reconstruction(logits, x).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - x) / 4)


def test_kl_of_the_prior_is_zero():
    assert losses.kl_per_dimension(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0, 0.0]


def test_kl_by_hand():
    # mu = 1, sigma = 1: 1/2. mu = 0, sigma^2 = e: (e - 2) / 2.
    kl = losses.kl_per_dimension(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(kl, torch.tensor([0.5, (math.e - 2) / 2]))


def test_kl_against_torch_distributions():
    mu, logvar = torch.randn(64, 7), torch.randn(64, 7)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean(dim=0)
    torch.testing.assert_close(losses.kl_per_dimension(mu, logvar), expected)


def test_adversarial_is_minus_log_d():
    logits = torch.randn(32, 1)
    expected = F.binary_cross_entropy(logits.sigmoid(), torch.ones(32, 1))
    torch.testing.assert_close(losses.adversarial(logits), expected)
    assert losses.adversarial(torch.zeros(2, 1)).item() == pytest.approx(math.log(2))


def test_adversarial_does_not_saturate_and_pushes_the_logit_up():
    logits = torch.full((1, 1), -50.0, requires_grad=True)  # the discriminator is sure that it is a fake
    losses.adversarial(logits).backward()
    assert logits.grad.item() == pytest.approx(-1.0)


def test_discriminator_by_hand():
    real, fake = torch.tensor([[math.log(3)]]), torch.tensor([[-math.log(3)]])  # D(x) = 3/4, D(fake) = 1/4
    assert losses.discriminator(real, fake).item() == pytest.approx(-2 * math.log(0.75))


def test_discriminator_averages_the_kinds_of_fakes():
    real, first, second = torch.randn(8, 1), torch.randn(8, 1), torch.randn(8, 1)
    expected = F.binary_cross_entropy_with_logits(real, torch.ones(8, 1)) + F.binary_cross_entropy_with_logits(
        torch.cat([first, second]), torch.zeros(16, 1)
    )
    torch.testing.assert_close(losses.discriminator(real, torch.cat([first, second])), expected)


@pytest.mark.parametrize("term", ["reconstruction", "kl", "adversarial", "discriminator"])
def test_losses_are_float32_under_bf16(term):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        a, b = torch.randn(4, 8, dtype=torch.bfloat16), torch.rand(4, 8)
        value = {
            "reconstruction": lambda: losses.reconstruction(a, b),
            "kl": lambda: losses.kl_per_dimension(a, a),
            "adversarial": lambda: losses.adversarial(a),
            "discriminator": lambda: losses.discriminator(a, a),
        }[term]()
    assert value.dtype == torch.float32
