"""Figures of one evaluated run, each a PNG. Numbers in, pictures out; imports no torch."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from vaegan.files import replacing
from vaegan.reporting.plots import DIGIT_COLOURS, TEST_COLOUR, TRAIN_COLOUR, VAL_COLOUR, scatter_digits

_GREY = "#999999"
_DPI = 110
_NAMES = {"real": TRAIN_COLOUR, "prior": TEST_COLOUR, "reconstruction": VAL_COLOUR, "mixture": VAL_COLOUR}


def scatter(points: np.ndarray, labels: np.ndarray, axis_names: tuple[str, str], path: Path) -> None:
    """Codes in the plane, points (N, 2), coloured and marked by digit."""
    figure, axes = plt.subplots(figsize=(7, 6.2), dpi=_DPI, layout="constrained")
    scatter_digits(axes, points, labels, range(10), size=4)
    axes.set_xlabel(axis_names[0])
    axes.set_ylabel(axis_names[1])
    axes.legend(title="digit", markerscale=4, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _save(figure, path)


def digit_map(points: np.ndarray, labels: np.ndarray, axis_names: tuple[str, str], path: Path) -> None:
    """A panel for each digit: its codes among all others, as the paper's Figure 15 shows one."""
    figure, panels = plt.subplots(2, 5, figsize=(11, 5), dpi=_DPI, layout="constrained", sharex=True, sharey=True)
    for digit, axes in enumerate(panels.flat):
        axes.scatter(*points[labels != digit].T, s=1, color="#cccccc", linewidths=0, rasterized=True)
        axes.scatter(*points[labels == digit].T, s=3, color=DIGIT_COLOURS[digit], linewidths=0, rasterized=True)
        axes.set_title(str(digit), fontsize=11)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.supxlabel(axis_names[0], fontsize=10)
    figure.supylabel(axis_names[1], fontsize=10)
    _save(figure, path)


def per_dimension(kl: list[float] | None, variance: list[float], threshold: float, path: Path) -> None:
    """KL and variance of the posterior mean of each latent dimension, from the most used to the least."""
    order = np.argsort(kl if kl is not None else variance)[::-1]
    figure, axes = plt.subplots(figsize=(8, 4), dpi=_DPI, layout="constrained")
    positions = np.arange(1, len(order) + 1)
    if kl is not None:
        axes.bar(positions, np.asarray(kl)[order], color=TRAIN_COLOUR, label="KL, nats", width=0.8)
    axes.plot(positions, np.asarray(variance)[order], "o", color=TEST_COLOUR, markersize=4, label="variance of mu")
    axes.axhline(threshold, color=_GREY, linestyle="--", linewidth=1, label=f"active above {threshold:g} (variance)")
    axes.set_yscale("log")
    axes.set_xlabel("latent dimension, in order of use")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.grid(axis="y", alpha=0.3)
    _save(figure, path)


def class_shares(shares: dict[str, list[float]], path: Path) -> None:
    """Which classes the images are taken for, in per cent, beside real ones."""
    figure, axes = plt.subplots(figsize=(8, 3.6), dpi=_DPI, layout="constrained")
    width = 0.8 / len(shares)
    for number, (name, values) in enumerate(shares.items()):
        places = np.arange(len(values)) + (number - (len(shares) - 1) / 2) * width
        axes.bar(places, 100 * np.asarray(values), width, color=_NAMES[name], label=name, alpha=0.9)
    axes.axhline(100 / len(values), color=_GREY, linestyle="--", linewidth=1, label="uniform")
    axes.set_xticks(np.arange(len(values)))
    axes.set_xlabel("class")
    axes.set_ylabel("images, %")
    axes.legend(frameon=False, ncols=len(shares) + 1, loc="lower center", bbox_to_anchor=(0.5, 1))
    _save(figure, path)


def denoising(errors: dict[str, dict[float, float]], path: Path) -> None:
    """Mean squared error against sigma, {"model": {sigma: mse}, filter: ...}."""
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=_DPI, layout="constrained")
    for number, (name, by_sigma) in enumerate(errors.items()):
        style = {"color": TEST_COLOUR, "linewidth": 2.5} if name == "model" else {"linestyle": "--", "alpha": 0.8}
        axes.plot(*zip(*sorted(by_sigma.items()), strict=True), marker="o^svD*"[number % 6], label=name, **style)
    axes.set_yscale("log")
    axes.set_xlabel("noise sigma of the input")
    axes.set_ylabel("mean squared error to the clean image")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    _save(figure, path)


def gap(per_epoch: list[float], path: Path) -> None:
    """Test minus training loss after each epoch, both reconstruction + KL."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=_DPI, layout="constrained")
    axes.plot(range(1, len(per_epoch) + 1), per_epoch, "o-", color=TEST_COLOUR)
    axes.axhline(0, color=_GREY, linewidth=1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("test (z = mu) minus training (z sampled), nats")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    _save(figure, path)


def distances(generated: np.ndarray, unseen: np.ndarray, path: Path) -> None:
    """How far samples and test images are from the nearest training image."""
    figure, axes = plt.subplots(figsize=(7, 4), dpi=_DPI, layout="constrained")
    bins = np.linspace(0, max(generated.max(), unseen.max()), 60)
    for name, values, colour in (("test images", unseen, TRAIN_COLOUR), ("samples", generated, TEST_COLOUR)):
        axes.hist(values, bins, color=colour, alpha=0.55, label=name)
    axes.set_xlabel("distance to the nearest training image (Euclidean, pixels in [0, 1])")
    axes.set_ylabel("images")
    axes.legend(frameon=False)
    _save(figure, path)


def discriminator(histograms: dict[str, list[float]], path: Path) -> None:
    """Probability of "real" that the discriminator gives; histograms over [0, 1], {"real": counts, kind of fake: counts}."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=_DPI, layout="constrained")
    real = np.asarray(histograms["real"])
    edges = np.linspace(0, 1, len(real) + 1)
    for name, counts in histograms.items():
        left.stairs(counts, edges, fill=True, color=_NAMES[name], alpha=0.5, label=name)
    left.set_yscale("log")
    left.set_xlabel("probability of “real”")
    left.set_ylabel("images")
    left.legend(frameon=False)
    fake = sum(np.asarray(counts) / sum(counts) for name, counts in histograms.items() if name != "real")
    fake = fake / (len(histograms) - 1)
    share = np.divide(
        real / real.sum(), real / real.sum() + fake, where=(real + fake) > 0, out=np.full(len(real), np.nan)
    )
    right.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1, label="calibrated")
    right.plot((edges[:-1] + edges[1:]) / 2, share, "o", color=TEST_COLOUR, markersize=4, label="observed")
    right.set_xlabel("probability of “real” stated")
    right.set_ylabel("share that is real")
    right.set_ylim(-0.03, 1.03)
    right.legend(frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)
