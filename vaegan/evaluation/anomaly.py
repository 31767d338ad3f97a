"""Can the model tell images of another kind from its own (paper, 5.3)?"""

import math

import torch
from torch import Tensor

from vaegan.evaluation.result import Metric


def auroc(normal: Tensor, anomalous: Tensor) -> Metric:
    """Chance that an anomalous image scores higher than a normal one, ties half; scores (N,), (M,); 0.5 is guessing.

    Standard error of Hanley and McNeil (1982).
    """
    from sklearn.metrics import roc_auc_score

    n, m = len(normal), len(anomalous)
    scores = torch.cat([normal, anomalous]).double().cpu().numpy()
    area = float(roc_auc_score([0] * n + [1] * m, scores))
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)) / (n * m)
    error = math.sqrt(max(variance, 0.0)) if 0 < area < 1 else None  # where all pairs agree the formula gives 0
    return Metric(area, "AUROC", n + m, error)


def noise_images(normal: Tensor, draws: Tensor) -> Tensor:
    """Images of independent Gaussian pixels with mean and deviation of the `normal` (N, 784), clipped to [0, 1].

    Args:
        draws: N(0, 1), (M, 784).
    """
    return (normal.mean() + normal.std() * draws).clamp(0, 1)
