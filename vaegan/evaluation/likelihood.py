"""log p(x) by importance sampling: the bound of Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders".

    log p(x) >= E log 1/k sum_i p(x|z_i) p(z_i) / q(z_i|x),   z_i ~ q(z|x)

tight as k grows, whatever q is. x must be what the decoder is a distribution of: for a Bernoulli decoder, black and white.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from vaegan import randomness


def log_weights(mu: Tensor, logvar: Tensor, eps: Tensor, log_p_x_given_z: Tensor) -> Tensor:
    """log p(x|z) p(z) / q(z|x) of z = mu + eps exp(logvar / 2), with p(z) = N(0, I), q(z|x) = N(mu, exp(logvar)); (...,).

    Args:
        mu, logvar: (..., d).
        eps: N(0, I) draws (..., d).
        log_p_x_given_z: (...,), nats.
    """
    z = mu + eps * torch.exp(0.5 * logvar)
    # The normalising constants of p(z) and q(z|x) cancel, but for the determinant.
    return log_p_x_given_z + 0.5 * (eps.square() + logvar - z.square()).sum(dim=-1)


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log of the mean weight over the samples, (k, B) -> (B,), in float64."""
    return torch.logsumexp(log_w.double(), dim=0) - math.log(len(log_w))


def effective_samples(log_w: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 of k weights, (k, B) -> (B,), from 1 (the bound is loose) to k (it is tight), in float64."""
    log_w = log_w.double()
    return (2 * torch.logsumexp(log_w, dim=0) - torch.logsumexp(2 * log_w, dim=0)).exp()


def importance_sample(
    mu: Tensor,
    logvar: Tensor,
    log_p_x_given_z: Callable[[Tensor], Tensor],
    num_samples: int,
    seed: int,
    *position: int,
    rows: int,
) -> Tensor:
    """The log weights (k, B) of `num_samples` codes for each of B images, no more than max(rows, B) decoded at once.

    Args:
        mu, logvar: of q(z|x), (B, d).
        log_p_x_given_z: codes (S, B, d) -> (S, B), nats.
        seed, position: key of the draws.
    """
    at_once = max(1, rows // len(mu))
    generator = randomness.generator(mu.device, seed, "importance samples", *position)
    parts = []
    for start in range(0, num_samples, at_once):
        shape = (min(at_once, num_samples - start), *mu.shape)
        eps = torch.randn(shape, device=mu.device, generator=generator)
        z = mu + eps * torch.exp(0.5 * logvar)
        parts.append(log_weights(mu, logvar, eps, log_p_x_given_z(z)).cpu().double())
    return torch.cat(parts)


def binarise(x: Tensor, uniform: Tensor) -> Tensor:
    """Black-and-white images with the grey x (B, 784) in [0, 1] as probabilities; uniform (B, 784) are draws in [0, 1)."""
    return (uniform < x).float()


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x|z) of black-and-white x (B, 784) under logits (S, B, 784), nats, (S, B)."""
    # x log s + (1 - x) log(1 - s) = x l - softplus(l); max(l, 0) + log(1 + exp(-|l|)) is softplus. A product of 98
    # factors in (1, 2] fits float32 and needs one logarithm instead of 98, which halves the time.
    factors = (1 + torch.exp(-logits.abs())).unflatten(-1, (-1, 8)).prod(dim=-2)
    return torch.einsum("sbp,bp->sb", logits, x) - logits.clamp(min=0).sum(dim=-1) - factors.log().sum(dim=-1)
