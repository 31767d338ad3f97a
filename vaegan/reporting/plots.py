"""Figures. Numbers in, pictures out; imports no torch."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window, whatever the machine
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from vaegan.files import replacing

# Okabe and Ito's colours, which the colour-blind can tell apart.
TRAIN_COLOUR, TEST_COLOUR, VAL_COLOUR = "#0072B2", "#D55E00", "#009E73"
DIGIT_COLOURS = matplotlib.colormaps["tab10"].colors
_CURVES = (
    ("train/loss", TRAIN_COLOUR, "o", "train: what is minimised, z sampled"),
    ("val/loss", VAL_COLOUR, "s", "validation: reconstruction + KL, z = mu"),
    ("test/loss", TEST_COLOUR, "^", "test: reconstruction + KL, z = mu"),
)


def latent_scatter(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A 2-D latent space, codes (N, 2) coloured and marked by digit, as pixels (H, W, 3) uint8."""
    figure, axes = plt.subplots(figsize=(7, 6.2), dpi=100)
    figure.subplots_adjust(left=0.11, right=0.88, bottom=0.09, top=0.98)  # a layout engine would draw everything twice
    scatter_digits(axes, codes, labels, range(10), size=3)
    axes.legend(title="digit", markerscale=4, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return pixels


def scatter_digits(axes: Axes, codes: np.ndarray, labels: np.ndarray, digits: Iterable[int], size: float) -> None:
    """Draw the codes (N, 2) of some digits, coloured by digit."""
    for digit in digits:
        points = codes[labels == digit]
        colour = DIGIT_COLOURS[digit]
        # (What Axes.scatter draws as well, more slowly, because there each point could be of another size and colour.)
        style = {"markersize": size**0.5, "markeredgewidth": 0, "color": colour, "alpha": 0.6}
        axes.plot(*points.T, "o", label=str(digit), rasterized=True, **style)
        if len(points):
            # The digit itself at the middle of its cloud, for those who cannot tell ten colours apart.
            middle = np.median(points, axis=0)
            axes.text(*middle, str(digit), fontsize=13, weight="bold", ha="center", va="center", bbox=_LABEL)
    axes.set_xlabel("latent dimension 1 (mu)")
    axes.set_ylabel("latent dimension 2 (mu)")


_LABEL = {"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


def loss_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Train, validation and test loss by epoch, from the rows of metrics.csv, as a PNG at `path`."""
    figure, axes = plt.subplots(figsize=(7, 4.5), dpi=110)
    # Fixed, because every run of a sweep draws this and a layout engine would double the time.
    figure.subplots_adjust(left=0.115, right=0.98, bottom=0.11, top=0.94)
    epochs = [row["epoch"] for row in rows]
    for metric, colour, marker, label in _CURVES:
        if metric in rows[0]:
            axes.plot(epochs, [row[metric] for row in rows], marker=marker, color=colour, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss, nats per image")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)
