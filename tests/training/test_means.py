import pytest
import torch

from vaegan.training.means import RunningMeans


def test_weighted_means_of_scalars_and_vectors():
    means = RunningMeans()
    means.add({"loss": torch.tensor(1.0), "kl": torch.tensor([1.0, 2.0]), "d": torch.tensor(0.5)}, weight=3)
    means.add({"loss": torch.tensor(5.0), "kl": torch.tensor([5.0, 0.0]), "d": torch.tensor(0.5)}, weight=1)
    assert means.take() == {"loss": 2.0, "kl": [2.0, 1.5], "d": 0.5}


def test_taking_starts_over_and_nothing_added_is_empty():
    means = RunningMeans()
    means.add({"loss": torch.tensor(1.0)}, weight=1)
    means.take()
    assert means.take() == {}
    means.add({"loss": torch.tensor(7.0)}, weight=2)
    assert means.take() == {"loss": 7.0}


def test_what_was_added_is_not_changed():
    value = torch.tensor([1.0, 2.0])
    means = RunningMeans()
    means.add({"kl": value}, weight=1)
    means.add({"kl": value}, weight=1)
    assert value.tolist() == [1.0, 2.0]


def test_means_of_many_batches_stay_accurate():
    values = torch.rand(5000, generator=torch.Generator().manual_seed(0)) * 200
    means = RunningMeans()
    for value in values:
        means.add({"loss": value}, weight=128)
    assert means.take()["loss"] == pytest.approx(values.double().mean().item(), rel=1e-5)
