"""Importance-sampled log p(x), against models for which it is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import MultivariateNormal

from vaegan import losses
from vaegan.evaluation import likelihood

D, PIXELS, NOISE = 3, 6, 0.5


@pytest.fixture
def linear_gaussian():
    """p(x|z) = N(W z, 0.25 I) with orthogonal columns: then q(z|x) is exactly N(mu, diagonal), and p(x) is normal."""
    w = torch.linalg.qr(torch.randn(PIXELS, D, generator=torch.Generator().manual_seed(0)))[0] * torch.tensor(
        [2.0, 1, 0.5]
    )
    x = torch.randn(5, PIXELS, generator=torch.Generator().manual_seed(1)) * 2
    exact = MultivariateNormal(torch.zeros(PIXELS), w @ w.T + NOISE**2 * torch.eye(PIXELS)).log_prob(x)
    precision = 1 + w.square().sum(dim=0) / NOISE**2
    mu, logvar = x @ w / NOISE**2 / precision, -precision.log().expand(5, D)

    def log_p_x_given_z(z):
        residual = (x - z @ w.T) / NOISE
        return -0.5 * residual.square().sum(dim=-1) - PIXELS * math.log(NOISE * math.sqrt(2 * math.pi))

    return mu, logvar, log_p_x_given_z, exact


def estimate(mu, logvar, log_p_x_given_z, k, seed=0, rows=1000):
    log_w = likelihood.importance_sample(mu, logvar, log_p_x_given_z, k, seed, rows=rows)
    assert log_w.shape == (k, len(mu)) and log_w.dtype == torch.float64
    return likelihood.log_mean_exp(log_w), log_w


def test_with_the_true_posterior_one_sample_is_exact(linear_gaussian):
    mu, logvar, log_p, exact = linear_gaussian
    estimated, log_w = estimate(mu, logvar, log_p, k=1)
    torch.testing.assert_close(estimated.float(), exact, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(likelihood.effective_samples(log_w), torch.ones(5).double())


def test_with_another_proposal_it_comes_to_the_exact_value_from_below(linear_gaussian):
    mu, logvar, log_p, exact = linear_gaussian
    few = torch.stack([estimate(mu + 0.1, logvar + 0.5, log_p, k=1, seed=seed)[0] for seed in range(200)]).mean(dim=0)
    many, log_w = estimate(mu + 0.1, logvar + 0.5, log_p, k=50_000)
    weights = (log_w - many).exp()
    standard_error = weights.std(dim=0) / math.sqrt(len(weights))
    assert (few < exact - 0.2).all()
    assert ((many - exact).abs() < 4 * standard_error).all() and (standard_error < 0.02).all()
    assert (likelihood.effective_samples(log_w) < len(log_w)).all()


def test_a_bernoulli_decoder_against_quadrature():
    """d = 1: p(x) is an integral over a line."""
    generator = torch.Generator().manual_seed(0)
    w, b = torch.randn(2, 784, generator=generator)
    x = (torch.rand(4, 784, generator=generator) < 0.5).float()

    def log_p(z):
        return likelihood.bernoulli_log_likelihood(z * w + b, x)

    grid = torch.linspace(-8, 8, 4001)
    per_point = torch.stack([-losses.reconstruction_per_image((z * w + b).expand(4, -1), x) for z in grid]).double()
    prior = (-0.5 * grid.double().square() - 0.5 * math.log(2 * math.pi))[:, None]
    exact = torch.logsumexp(per_point + prior, dim=0) + math.log(16 / 4000)
    best = grid[per_point.argmax(dim=0)][:, None]  # a proposal around the most likely code
    estimated, _ = estimate(best, torch.full((4, 1), -5.0), log_p, k=20_000, rows=4000)
    torch.testing.assert_close(estimated, exact, atol=0.02, rtol=0)


def test_how_the_samples_are_split_into_blocks_changes_no_shape(linear_gaussian):
    mu, logvar, log_p, exact = linear_gaussian
    for rows in (1, 7, 10_000):
        estimated, _ = estimate(mu, logvar, log_p, k=11, rows=rows)
        torch.testing.assert_close(estimated.float(), exact, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
def test_bernoulli_log_likelihood_is_minus_the_binary_cross_entropy(scale):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 5, 784, generator=generator) * scale
    x = (torch.rand(5, 784, generator=generator) < 0.3).float()
    target = x.expand(3, 5, 784)
    expected = -F.binary_cross_entropy_with_logits(logits.double(), target.double(), reduction="none").sum(dim=-1)
    actual = likelihood.bernoulli_log_likelihood(logits, x)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-5, atol=1e-3)


def test_effective_samples_of_equal_and_of_one_dominant_weight():
    log_w = torch.tensor([[0.0, 0.0], [0.0, -1000.0], [0.0, -1000.0]])
    torch.testing.assert_close(likelihood.effective_samples(log_w), torch.tensor([3.0, 1.0]).double())


def test_log_mean_exp_does_not_overflow():
    log_w = torch.tensor([[-1000.0], [-1000.0 + math.log(3)]])
    assert likelihood.log_mean_exp(log_w).item() == pytest.approx(-1000 + math.log(2))


def test_binarise_turns_grey_into_chances():
    x = torch.tensor([[0.0, 0.25, 1.0]]).repeat(40_000, 1)
    uniform = torch.rand(x.shape, generator=torch.Generator().manual_seed(0))
    shares = likelihood.binarise(x, uniform).mean(dim=0)
    assert shares[0] == 0 and shares[2] == 1 and shares[1].item() == pytest.approx(0.25, abs=0.01)
