"""Draws depend on their key and on nothing else."""

import torch

from vaegan import randomness

CPU = torch.device("cpu")


def test_same_key_same_draws_whatever_came_before():
    first = randomness.normal((5, 3), CPU, 1, "eps", 2, 7)
    torch.randn(1000)
    randomness.normal((5, 3), CPU, 1, "noise", 2, 7)
    assert torch.equal(first, randomness.normal((5, 3), CPU, 1, "eps", 2, 7))


def test_every_part_of_the_key_counts():
    keys = {
        randomness.key(seed, purpose, epoch, batch)
        for seed in range(5)
        for purpose in ("eps", "noise", "prior")
        for epoch in range(10)
        for batch in range(30)
    }
    assert len(keys) == 5 * 3 * 10 * 30
    assert randomness.key(0, "eps", 1, 12) != randomness.key(0, "eps", 11, 2)


def test_key_is_the_same_on_every_machine():
    assert randomness.key(0, "eps", 0, 0) == 494357525715853137


def test_draws_are_standard_normal():
    draws = randomness.normal((400_000,), CPU, 0, "eps", 0, 0)
    assert abs(draws.mean().item()) < 0.01
    assert abs(draws.std().item() - 1) < 0.01


def test_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    randomness.normal((100,), CPU, 0, "eps", 0)
    assert torch.equal(torch.randn(4), expected)
