"""What the codes are worth: which dimensions are used, how they fill the prior, what a simple classifier reads in them."""

import math

import numpy as np
import torch
from torch import Tensor

from vaegan import randomness
from vaegan.evaluation.result import Metric, proportion

ACTIVE_VARIANCE = 0.01
PROBE_REPEATS = 10  # draws of a few labelled images
KNN = 5
_SCALES = (0.2, 1.0, 5.0)


def variances(mu: Tensor) -> Tensor:
    """Variance over the images of each dimension of the posterior means (N, d), (d,)."""
    return mu.double().var(dim=0)


def active_units(mu: Tensor) -> Metric:
    """How many dimensions have a posterior mean that varies by more than 0.01 (Burda et al. 2016)."""
    return Metric(float((variances(mu) > ACTIVE_VARIANCE).sum().item()), f"of {mu.shape[1]} dimensions", len(mu))


def mmd(a: Tensor, b: Tensor) -> float:
    """Unbiased MMD^2 between codes (N, d), (M, d) under a sum of inverse multiquadric kernels C / (C + |x - y|^2).

    C = 2 d s for s = 0.2, 1 and 5, 2 d being the mean squared distance of two draws of N(0, I) (Tolstikhin et al. 2018).
    """
    n, m = len(a), len(b)
    within_a = (_kernel_sum(a, a) - n * len(_SCALES)) / (n * (n - 1))  # a point with itself has kernel 1
    within_b = (_kernel_sum(b, b) - m * len(_SCALES)) / (m * (m - 1))
    return within_a + within_b - 2 * _kernel_sum(a, b) / (n * m)


def _kernel_sum(a: Tensor, b: Tensor) -> float:
    total = 0.0
    for part in a.split(1000):
        squared = torch.cdist(part, b).square()
        for scale in _SCALES:
            c = 2 * a.shape[1] * scale
            total += (c / (c + squared)).sum(dim=1).cpu().double().sum().item()
    return total


def probe_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Metric:
    """Test accuracy of multinomial logistic regression on standardised codes (N, d), (M, d)."""
    return proportion(_probe(train, train_labels, test, test_labels))


def few_label_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, num_labels: int, seed: int
) -> Metric:
    """The probe's accuracy where only `num_labels` images, as many of each class, have a label: mean of 10 choices.

    What the paper's section 1.2 hopes of the codes. The standard error is over the choices.
    """
    classes = train_labels.unique().tolist()
    accuracies = []
    for repeat in range(PROBE_REPEATS):
        order = torch.randperm(len(train), generator=randomness.generator("cpu", seed, "labelled", repeat))
        each = max(1, num_labels // len(classes))
        chosen = torch.cat([order[train_labels[order] == label][:each] for label in classes])
        hits = _probe(train[chosen], train_labels[chosen], test, test_labels)
        accuracies.append(hits.double().mean().item())
    spread = float(np.std(accuracies, ddof=1)) / math.sqrt(PROBE_REPEATS)
    return Metric(float(np.mean(accuracies)), "share", len(test), spread)


def _probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Tensor:
    from sklearn.linear_model import LogisticRegression

    middle, spread = train.mean(dim=0), train.std(dim=0).clamp(min=1e-6)
    # Penalised as one labelled image more would be: 1/2 |w|^2. A few labels can be separated without an error.
    classifier = LogisticRegression(C=1.0, max_iter=200, tol=1e-3)
    classifier.fit(((train - middle) / spread).cpu().numpy(), train_labels.numpy())
    predicted = classifier.predict(((test - middle) / spread).cpu().numpy())
    return torch.from_numpy(predicted) == test_labels


def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> Metric:
    """Test accuracy of the majority among the 5 nearest training codes; a tie goes to the smaller class."""
    hits = []
    for part, labels in zip(test.split(1000), test_labels.split(1000), strict=True):
        nearest = torch.cdist(part, train).topk(KNN, dim=1, largest=False).indices
        hits.append(train_labels[nearest.cpu()].mode(dim=1).values == labels)
    return proportion(torch.cat(hits))


def silhouette(codes: Tensor, labels: Tensor) -> Metric:
    """Mean silhouette of the classes as clusters, from -1 to 1, of the first 5,000 codes."""
    from sklearn.metrics import silhouette_samples

    values = silhouette_samples(codes[:5000].cpu().numpy(), labels[:5000].numpy())
    return Metric(float(values.mean()), "index", len(values), float(values.std(ddof=1)) / math.sqrt(len(values)))
