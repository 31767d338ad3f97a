"""How close generated images come to real ones: as distributions of features, as classes, and not as copies.

Features and class logits are those of features.py's network, (N, 64) and (N, 10).
"""

import math
import warnings

import torch
from torch import Tensor, nn

from vaegan import randomness
from vaegan.evaluation.result import Metric, proportion

NEIGHBOURS = 3  # k of the manifolds, as in the paper of precision and recall
KERNEL_SUBSET = 1000
_BOOTSTRAPS = 20
_ROWS = 2000  # of a distance matrix held at once


class _Given(nn.Identity):
    """The "network" that torchmetrics asks for where the features are there already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of features (N, D), (M, D) (Heusel et al. 2017, with other features)."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(real.shape[1])).set_dtype(torch.float64).to(real.device)
    metric.update(real.double(), real=True)
    metric.update(generated.double(), real=False)
    return metric.compute().item()


def frechet_metric(real: Tensor, generated: Tensor, seed: int) -> Metric:
    """Fréchet distance; its standard error is the deviation over bootstrap resamples of the generated features."""
    resampled = []
    for number in range(_BOOTSTRAPS):
        draws = randomness.generator("cpu", seed, "bootstrap", number)
        rows = torch.randint(len(generated), (len(generated),), generator=draws).to(generated.device)
        resampled.append(frechet_distance(real, generated[rows]))
    return Metric(
        frechet_distance(real, generated),
        "squared feature distance",
        len(generated),
        torch.tensor(resampled).std().item(),
    )


def kernel_metric(real: Tensor, generated: Tensor, seed: int) -> Metric:
    """Unbiased MMD^2 of features under the kernel (x'y / D + 1)^3 (Binkowski et al. 2018), mean over 50 subsets.

    The subsets' deviation is that of 1,000 images; a mean over N independent ones has sqrt(N / 1000) times less.
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KERNEL_SUBSET, len(real), len(generated))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Kernel Inception Distance.*memory")
        metric = KernelInceptionDistance(feature=_Given(real.shape[1]), subsets=50, subset_size=size).to(real.device)
    with torch.random.fork_rng(devices=[]):  # it draws its subsets from torch's global generator
        torch.manual_seed(randomness.key(seed, "kernel subsets"))
        metric.update(real, real=True)
        metric.update(generated, real=False)
        value, deviation = metric.compute()
    error = deviation.item() * math.sqrt(size / min(len(real), len(generated)))
    return Metric(value.item(), "squared kernel distance", len(generated), error)


def neighbour_radii(features: Tensor, k: int = NEIGHBOURS) -> Tensor:
    """Distance of each of the features (N, D) to its k-th nearest other one, (N,)."""
    # The nearest of all is the point itself.
    nearest = (torch.cdist(part, features).topk(k + 1, dim=1, largest=False) for part in features.split(_ROWS))
    return torch.cat([found.values[:, -1] for found in nearest])


def in_manifold(points: Tensor, features: Tensor, radii: Tensor) -> Tensor:
    """Which points (M, D) lie within the radius of at least one of the features (N, D), (M,) bool."""
    return torch.cat([(torch.cdist(part, features) <= radii).any(dim=1) for part in points.split(_ROWS)])


def precision_recall(real: Tensor, generated: Tensor) -> tuple[Metric, Metric]:
    """Share of generated images on the real manifold, and of real ones on the generated (Kynkäänniemi et al. 2019)."""
    precision = proportion(in_manifold(generated, real, neighbour_radii(real)))
    recall = proportion(in_manifold(real, generated, neighbour_radii(generated)))
    return precision, recall


def classifier_score(logits: Tensor) -> Metric:
    """exp of the mean KL(p(y|x) || p(y)), from 1 to the number of classes (Salimans et al. 2016, with another network).

    The standard error is that of the exponential of a mean, p(y) taken as known.
    """
    log_p = logits.double().log_softmax(dim=1)
    log_marginal = torch.logsumexp(log_p, dim=0) - math.log(len(log_p))
    divergence = (log_p.exp() * (log_p - log_marginal)).sum(dim=1)
    score = divergence.mean().exp().item()
    return Metric(score, "classes", len(logits), score * divergence.std().item() / math.sqrt(len(logits)))


def class_shares(logits: Tensor) -> Tensor:
    """The share of each class among the predicted ones, (C,), float64."""
    return torch.bincount(logits.argmax(dim=1), minlength=logits.shape[1]).double() / len(logits)


def class_coverage(logits: Tensor) -> Metric:
    """How many classes have at least a tenth of their fair share, 1 % of ten. Mode collapse is a low number."""
    shares = class_shares(logits)
    covered = (shares >= 0.1 / len(shares)).sum().item()
    return Metric(float(covered), f"of {len(shares)} classes", len(logits))


def class_kl(logits: Tensor) -> Metric:
    """KL(class shares || uniform), from 0 to log C, nats; standard error by the delta method."""
    shares, n = class_shares(logits), len(logits)
    surprise = torch.where(shares > 0, (shares * len(shares)).log(), 0)
    kl = (shares * surprise).sum()
    variance = (shares * (surprise - kl).square()).sum().item() / n
    return Metric(kl.item(), "nats", n, math.sqrt(variance))


def generation_metrics(real: tuple[Tensor, Tensor], generated: tuple[Tensor, Tensor], seed: int) -> dict[str, Metric]:
    """All of the above, for (features, logits) of real and of as many generated images."""
    precision, recall = precision_recall(real[0], generated[0])
    return {
        "frechet_distance": frechet_metric(real[0], generated[0], seed),
        "kernel_distance": kernel_metric(real[0], generated[0], seed),
        "precision": precision,
        "recall": recall,
        "classifier_score": classifier_score(generated[1]),
        "class_coverage": class_coverage(generated[1]),
        "class_kl": class_kl(generated[1]),
    }
