"""Distances between sets of features, manifolds, and class statistics, against independent computations."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from vaegan.evaluation import generation


def features(n, dim=8, seed=0, scale=1.0):
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(99))
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) @ mix * scale


def test_frechet_distance_is_scipys():
    a, b = features(400), features(300, seed=1, scale=1.4) + 0.3
    m1, m2 = a.double().mean(0).numpy(), b.double().mean(0).numpy()
    c1, c2 = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * scipy.linalg.sqrtm(c1 @ c2).real)
    assert generation.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_a_set_to_itself_and_to_itself_moved():
    a = features(500)
    shift = torch.arange(8.0) / 4
    assert generation.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert generation.frechet_distance(a, a + shift) == pytest.approx(shift.square().sum().item(), rel=1e-5)


def test_the_standard_error_of_the_frechet_distance_is_its_spread_over_new_draws():
    real = features(5000, seed=100)
    spread = np.std([generation.frechet_distance(real, features(1000, seed=seed) * 1.2) for seed in range(30)], ddof=1)
    metric = generation.frechet_metric(real, features(1000, seed=50) * 1.2, seed=0)
    assert metric.n == 1000
    assert 0.5 * spread < metric.standard_error < 2 * spread


def test_kernel_distance_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    b = torch.tensor([[2.0, 0.0], [0.0, -1.0], [1.0, 2.0]])

    def kernel(x, y):
        return (float(x @ y) / 2 + 1) ** 3

    pairs = [(i, j) for i in range(3) for j in range(3)]
    within = [sum(kernel(s[i], s[j]) for i, j in pairs if i != j) / 6 for s in (a, b)]
    across = sum(kernel(a[i], b[j]) for i, j in pairs) / 9
    assert generation.kernel_metric(a, b, seed=0).value == pytest.approx(within[0] + within[1] - 2 * across, rel=1e-5)


def test_kernel_distance_is_the_same_for_the_same_seed_and_leaves_the_global_generator_alone():
    a, b = features(1500), features(1500, seed=1) + 0.1
    state = torch.get_rng_state()
    first, again, other = (generation.kernel_metric(a, b, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first == again != other
    assert abs(first.value - other.value) < 3 * math.hypot(first.standard_error, other.standard_error)


def test_radii_of_points_on_a_line():
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    assert generation.neighbour_radii(line, k=1).tolist() == [1, 1, 2, 4]
    assert generation.neighbour_radii(line, k=2).tolist() == [3, 2, 3, 6]
    points = torch.tensor([[-0.5], [-1.5], [4.9], [12.0]])
    inside = generation.in_manifold(points, line, torch.tensor([1.0, 1, 2, 4]))
    assert inside.tolist() == [True, False, True, False]


def test_precision_and_recall_of_constructed_clouds():
    left, right = features(600, dim=2, seed=1), features(600, dim=2, seed=2) + 1000
    far = features(1200, dim=2, seed=3) - 5000
    both = torch.cat([left, right])
    precision, recall = generation.precision_recall(both, features(1200, dim=2, seed=4))  # half of what is real, well
    assert precision.value > 0.95 and 0.45 < recall.value < 0.5
    precision, recall = generation.precision_recall(left, torch.cat([features(600, dim=2, seed=5), right]))  # too much
    assert 0.45 < precision.value < 0.5 and recall.value > 0.95
    assert [metric.value for metric in generation.precision_recall(both, far)] == [0, 0]
    assert [metric.value for metric in generation.precision_recall(both, both)] == [1, 1]


def sure_of(classes):
    return torch.nn.functional.one_hot(torch.as_tensor(classes), 10).float() * 100


def test_classifier_score_from_one_to_ten():
    assert generation.classifier_score(sure_of(list(range(10)) * 5)).value == pytest.approx(10)
    assert generation.classifier_score(sure_of([3] * 50)).value == pytest.approx(1)
    assert generation.classifier_score(torch.zeros(50, 10)).value == pytest.approx(1)
    assert generation.classifier_score(sure_of([1, 2] * 25)).value == pytest.approx(2)


def test_a_generator_that_emits_one_digit_covers_one_class():
    logits = sure_of([7] * 200)
    assert generation.class_coverage(logits).value == 1
    assert generation.class_kl(logits).value == pytest.approx(math.log(10))


def test_a_class_is_covered_from_a_tenth_of_its_share():
    classes = list(range(9)) * 111  # 999 images, nothing of class 9
    assert generation.class_coverage(sure_of([*classes, 9])).value == 9
    assert generation.class_coverage(sure_of([*classes[:-9], *[9] * 10])).value == 10


def test_class_kl_by_hand_and_its_error_by_simulation():
    metric = generation.class_kl(sure_of([0] * 75 + [1] * 25))
    assert metric.value == pytest.approx(0.75 * math.log(7.5) + 0.25 * math.log(2.5))
    draws = np.random.default_rng(0).multinomial(100, [0.75, 0.25], size=2000) / 100
    spread = np.std([(p[p > 0] * np.log(10 * p[p > 0])).sum() for p in draws])
    assert metric.standard_error == pytest.approx(spread, rel=0.15)
