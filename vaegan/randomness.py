"""Randomness as an argument: every draw comes from a generator keyed by what it is for.

A generator's key is (seed, purpose, position), for example (0, "eps", epoch, batch). So a draw does not depend on what was drawn
before it: a resumed run draws what the uninterrupted one would have, and two runs of a sweep with one seed see the same
order of images and the same noise.
"""

import hashlib

import torch


def key(seed: int, purpose: str, *position: int) -> int:
    """63 bits that depend on all arguments. (torch's CPU generator uses the lower 32 of them.)"""
    text = "/".join(map(str, (seed, purpose, *position)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(device: torch.device | str, seed: int, purpose: str, *position: int) -> torch.Generator:
    """A generator on `device` for the draws of one purpose at one position."""
    return torch.Generator(device).manual_seed(key(seed, purpose, *position))


def normal(shape: tuple[int, ...], device: torch.device, seed: int, purpose: str, *position: int) -> torch.Tensor:
    """Draws of N(0, 1), float32."""
    return torch.randn(shape, device=device, generator=generator(device, seed, purpose, *position))
