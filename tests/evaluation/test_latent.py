"""What codes are worth, on codes made so that the answer is known."""

import numpy as np
import pytest
import torch

from vaegan.evaluation import latent


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LABELS = torch.arange(1000) % 10
ONE_HOT = torch.nn.functional.one_hot(LABELS, 10).float()


def test_active_units_counts_the_dimensions_that_vary():
    mu = normal(20_000, 4) * torch.tensor([1.0, 0.11, 0.09, 0.0]) + 5
    metric = latent.active_units(mu)
    assert metric.value == 2 and metric.unit == "of 4 dimensions" and metric.n == 20_000


def test_mmd_is_the_double_sum():
    a, b = normal(7, 3), normal(5, 3, seed=1) + 1

    def kernel(x, y):
        squared = float((x - y).square().sum())
        return sum(6 * s / (6 * s + squared) for s in (0.2, 1, 5))

    within = [np.mean([kernel(s[i], s[j]) for i in range(len(s)) for j in range(len(s)) if i != j]) for s in (a, b)]
    across = np.mean([kernel(x, y) for x in a for y in b])
    assert latent.mmd(a, b) == pytest.approx(within[0] + within[1] - 2 * across, rel=1e-5)


def test_mmd_tells_a_wrong_spread_from_the_prior():
    prior, same, narrow = normal(2000, 5), normal(2000, 5, seed=1), 0.7 * normal(2000, 5, seed=1)
    assert abs(latent.mmd(same, prior)) < 0.003
    assert latent.mmd(narrow, prior) > 0.03


def test_labels_as_codes_are_read_without_an_error():
    train, test = ONE_HOT, ONE_HOT[:200]
    assert latent.probe_accuracy(train, LABELS, test, LABELS[:200]).value == 1
    assert latent.few_label_accuracy(train, LABELS, test, LABELS[:200], 100, seed=0).value == 1
    assert latent.knn_accuracy(train, LABELS, test, LABELS[:200]).value == 1
    assert latent.silhouette(test, LABELS[:200]).value == pytest.approx(1)


def test_codes_that_know_nothing_are_read_by_chance():
    train, test = normal(3000, 4), normal(2000, 4, seed=1)
    labels = torch.arange(3000) % 10
    for metric in (
        latent.probe_accuracy(train, labels, test, labels[:2000]),
        latent.knn_accuracy(train, labels, test, labels[:2000]),
    ):
        assert metric.value == pytest.approx(0.1, abs=5 * metric.standard_error)
    assert abs(latent.silhouette(test, labels[:2000]).value) < 0.05


def test_more_labels_help_and_a_few_are_balanced():
    codes = normal(4000, 20) + 0.8 * torch.nn.functional.one_hot(torch.arange(4000) % 10, 20)
    labels = torch.arange(4000) % 10
    train, test = (codes[:3000], labels[:3000]), (codes[3000:], labels[3000:])
    few = latent.few_label_accuracy(*train, *test, 100, seed=0)
    more = latent.few_label_accuracy(*train, *test, 1000, seed=0)
    assert few.value + 3 * few.standard_error < more.value < latent.probe_accuracy(*train, *test).value + 0.03
    assert few == latent.few_label_accuracy(*train, *test, 100, seed=0)


def test_the_probe_does_not_care_for_the_scale_of_the_codes():
    codes = normal(1000, 10) + 2 * ONE_HOT
    scaled = codes * torch.logspace(-3, 3, 10) + 100
    plain = latent.probe_accuracy(codes[:800], LABELS[:800], codes[800:], LABELS[800:]).value
    assert latent.probe_accuracy(scaled[:800], LABELS[:800], scaled[800:], LABELS[800:]).value == pytest.approx(
        plain, abs=0.02
    )


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_a_few_labels_are_at_least_one_of_each_class():
    labels = torch.arange(400) % 200
    codes = torch.stack([labels.float(), labels.float() ** 2 / 200], dim=1)
    assert latent.few_label_accuracy(codes, labels, codes, labels, 100, seed=0).n == 400
