"""AUROC by hand, and images of noise."""

import numpy as np
import pytest
import torch

from vaegan.evaluation import anomaly


def test_auroc_counts_pairs():
    # 2 beats 1, ties with 2, loses to 3; 4 beats all: 4.5 of 6 pairs.
    metric = anomaly.auroc(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0]))
    assert metric.value == pytest.approx(0.75) and metric.n == 5
    assert anomaly.auroc(torch.zeros(5), torch.ones(5)).value == 1
    assert anomaly.auroc(torch.ones(5), torch.zeros(5)).value == 0
    assert anomaly.auroc(torch.ones(5), torch.ones(5)).value == 0.5


def test_its_standard_error_is_the_spread_over_new_draws():
    def draw(seed):
        scores = torch.randn(150, generator=torch.Generator().manual_seed(seed))
        return anomaly.auroc(scores[:100], scores[100:] + 1)

    spread = np.std([draw(seed).value for seed in range(300)])
    assert draw(1000).standard_error == pytest.approx(spread, rel=0.3)


def test_noise_images_have_the_mean_and_spread_of_the_normal_ones():
    normal = torch.full((50, 784), 0.5) + 0.1 * torch.randn(50, 784, generator=torch.Generator().manual_seed(0))
    noise = anomaly.noise_images(normal, torch.randn(200, 784, generator=torch.Generator().manual_seed(1)))
    assert noise.mean().item() == pytest.approx(0.5, abs=0.01) and noise.std().item() == pytest.approx(0.1, abs=0.01)
    assert noise.min() >= 0 and noise.max() <= 1
