"""The figures of a report: from a section's numbers and the pictures in its run folders; imports no torch."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # no window, whatever the machine
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from vaegan.files import replacing
from vaegan.reporting import grids
from vaegan.reporting.collect import Run
from vaegan.reporting.comparison import (
    BATCH_NORM,
    BesidePaper,
    Estimate,
    Group,
    Pair,
    Section,
    beside_paper,
    describe,
    term,
)
from vaegan.reporting.paper import BATCH_SIZE
from vaegan.reporting.plots import scatter_digits

# Okabe and Ito's colours, which the colour-blind can tell apart; markers and line styles say the same once more.
PLAIN_COLOUR, BATCH_NORM_COLOUR = "#D55E00", "#0072B2"
_OTHERS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "o^sDvP*"
_MAX_COLUMNS = 3
_EPOCHS_SHOWN = 5
_IMAGES_SHOWN = 8
_ONE_DIGIT = 2  # the paper's Figure 15

STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "svg.hashsalt": "vaegan",  # equal figures are equal files
}


@dataclass(frozen=True)
class Picture:
    """A figure that was written."""

    caption: str
    png: Path
    svg: Path | None  # None of a picture that is no drawing


def draw(section: Section, folder: Path) -> Iterator[Picture]:
    """Write every figure of the section's training into `folder`, as PNG and SVG."""
    yield from write(_figures(section), section, folder)


def write(figures: Iterator[tuple[str, str, Figure]], section: Section, folder: Path) -> Iterator[Picture]:
    """Write (name, caption, figure) of a section into `folder`, as PNG and SVG."""
    for name, caption, figure in figures:
        paths = [folder / f"{section.data}_{name}{suffix}" for suffix in (".png", ".svg")]
        with matplotlib.rc_context(STYLE):
            with replacing(paths[0]) as temporary:
                figure.savefig(temporary, dpi=150, format="png")
            with replacing(paths[1]) as temporary:
                figure.savefig(temporary, dpi=150, format="svg", metadata={"Date": None})
        plt.close(figure)
        yield Picture(caption, *paths)


def _figures(section: Section) -> Iterator[tuple[str, str, Figure]]:
    with matplotlib.rc_context(STYLE):
        with_loss = tuple(group for group in section.groups if group.has("test/loss"))
        pairs = tuple(pair for pair in section.pairs if pair.has_test_loss)
        if with_loss:
            yield from _loss_figures(replace(section, groups=with_loss, pairs=pairs))
        yield from _picture_figures(section)


def _loss_figures(section: Section) -> Iterator[tuple[str, str, Figure]]:
    band = "Lines are means over seeds, bands one standard deviation" if _has_spread(section) else "One seed each"
    beside = beside_paper(section)
    hollow = "; hollow points are the paper's" if beside else ""
    yield (
        "test_loss",
        f"Test loss: reconstruction + KL of the test images with z = mu, after each epoch. {band}{hollow}.",
        _curves(section, lambda group: group.curve("test/loss"), "test loss, nats per image", beside, "test/loss"),
    )
    yield (
        "train_loss",
        "Training loss: all that is minimised, adversarial term included, averaged over the epoch's batches while the model "
        f"improves (the paper's average loss is {BATCH_SIZE} times this). {band}{hollow}.",
        _curves(
            section, lambda group: group.curve("train/loss"), "training loss, nats per image", beside, "train/loss"
        ),
    )
    yield (
        "gap",
        "Train-test gap: test loss (z = mu) minus training loss (z sampled, averaged over an epoch in which it falls), both "
        f"reconstruction + KL. A rise in later epochs would show overfitting. {band}.",
        _curves(section, Group.gap, "test − training loss,\nnats per image", zero=True),
    )
    if section.pairs:
        for what, (name, label) in enumerate(
            (("epochs", "epochs"), ("seconds", "seconds of training\nand evaluation"))
        ):
            caption = (
                f"{name.capitalize()} until the test loss first is at or below the value on the horizontal axis: means over "
                "seeds; a line ends where one of them gets no further."
            )
            yield f"{name}_to_loss", caption, _reach(section, what, label)
    for key in section.varying:
        panels = _against_panels(section, key)
        if panels:
            yield (
                f"loss_against_{key.rpartition('.')[2]}",
                f"Test loss after the last epoch against {_AXIS.get(key, key)}. "
                + ("Bars are one standard deviation over seeds." if _has_spread(section) else "One seed each."),
                _against(panels, key),
            )


def _has_spread(section: Section) -> bool:
    return any(len(group.runs) > 1 for group in section.groups)


def setting_panels(section: Section) -> list[tuple[str, list[tuple[str, Group, str, str]]]]:
    """[(title, [(label, group, colour, marker)])]: a panel per setting if BatchNorm varies, else all groups in one."""
    panels = [
        (
            describe(pair.settings) if pair.settings else "",
            [("no BatchNorm", pair.plain, PLAIN_COLOUR, "o"), ("BatchNorm", pair.batch_norm, BATCH_NORM_COLOUR, "^")],
        )
        for pair in section.pairs
    ]
    if panels:  # what was run only with or only without BatchNorm
        colours = {False: ("no BatchNorm", PLAIN_COLOUR, "o"), True: ("BatchNorm", BATCH_NORM_COLOUR, "^")}
        for group in section.unpaired:
            name, colour, marker = colours[group.options[BATCH_NORM]]
            panels.append((describe(group.settings), [(name, group, colour, marker)]))
        return panels
    lines = [
        (describe(group.settings), group, _OTHERS[n % len(_OTHERS)], _MARKERS[n // len(_OTHERS) % len(_MARKERS)])
        for n, group in enumerate(section.groups)
    ]
    return [("", lines)]


def panel_grid(num_panels: int, width: float = 3.6, height: float = 3.3, **options: Any) -> tuple[Figure, list[Axes]]:
    columns = min(num_panels, _MAX_COLUMNS)
    rows = -(-num_panels // columns)
    size = (max(width * columns, 5.0), height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    for unused in axes.flat[num_panels:]:
        unused.set_visible(False)
    return figure, list(axes.flat[:num_panels])


def _curves(
    section: Section,
    curve: Callable[[Group], list[Estimate]],
    label: str,
    beside: list[BesidePaper] = (),
    metric: str = "",
    zero: bool = False,
) -> Figure:
    panels = setting_panels(section)
    figure, all_axes = panel_grid(len(panels))
    for axes, (title, lines) in zip(all_axes, panels, strict=True):
        for name, group, colour, marker in lines:
            _band(axes, group.epochs, curve(group), name, colour, marker)
        for paper in beside:
            if paper.table.metric == metric and paper.pair.plain is lines[0][1]:
                for values, (_, _, colour, marker) in zip(
                    (paper.table.plain, paper.table.batch_norm), lines, strict=True
                ):
                    scaled = [value / paper.table.scale for value in values[: len(lines[0][1].epochs)]]
                    axes.plot(
                        range(1, len(scaled) + 1), scaled, marker=marker, color=colour, linestyle="", fillstyle="none"
                    )
        if zero:
            axes.axhline(0, color="grey", linewidth=0.8)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    handles, labels = all_axes[0].get_legend_handles_labels()
    if any(paper.table.metric == metric for paper in beside):
        handles.append(Line2D([], [], color="black", marker="o", linestyle="", fillstyle="none"))
        labels.append("the paper")
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 3))
    return figure


def _band(axes: Axes, x: list[float], estimates: list[Estimate], label: str, colour: str, marker: str) -> None:
    middle = np.array([estimate.mean for estimate in estimates])
    axes.plot(x[: len(middle)], middle, marker=marker, markersize=4, color=colour, label=label)
    if all(estimate.sd is not None for estimate in estimates):
        sd = np.array([estimate.sd for estimate in estimates])
        axes.fill_between(x[: len(middle)], middle - sd, middle + sd, color=colour, alpha=0.2, linewidth=0)


def _reach(section: Section, what: int, label: str) -> Figure:
    """Epochs (`what` 0) or seconds (1) against the test loss that is reached in them."""
    panels = setting_panels(section)
    figure, all_axes = panel_grid(len(panels))
    for axes, (title, lines) in zip(all_axes, panels, strict=True):
        for name, group, colour, _ in lines:
            curves = [[row["test/loss"] for row in run.rows] for run in group.runs]
            levels = np.linspace(max(map(max, curves)), min(map(min, curves)), 300)
            reached = [group.reach(level)[what] for level in levels]
            # A level that one of the seeds never reaches has no mean.
            means = [np.mean(seeds) if None not in seeds else np.nan for seeds in reached]
            axes.plot(levels, means, color=colour, label=name)
        axes.set_title(title, fontsize=10)
        axes.invert_xaxis()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("test loss reached, nats per image")
        axes.set_ylabel(label)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


_AXIS = {
    "data.noise_std": "noise sigma, for pixels in [0, 1]",
    "data.batch_size": "batch size, images",
    "model.latent_dim": "d, the size of the latent code",
    "model.hidden_dim": "hidden units",
    "optimizer.vae.lr": "learning rate",
    "trainer.max_epochs": "epochs",
}
_LOGARITHMIC = ("data.batch_size", "model.latent_dim", "model.hidden_dim", "optimizer.vae.lr")


def _against_panels(section: Section, key: str) -> dict[str, dict[bool | None, list[Group]]]:
    """{the rest in words: {BatchNorm: groups by the value of `key`}}, where a numeric `key` has several values."""
    panels: dict[str, dict[bool | None, list[Group]]] = {}
    for group in sorted(
        section.groups, key=lambda group: isinstance(group.settings[key], (int, float)) and group.settings[key]
    ):
        if type(group.settings[key]) in (int, float):
            rest = {name: value for name, value in group.settings.items() if name not in (key, BATCH_NORM)}
            lines = panels.setdefault(describe(rest) if rest else "", {})
            lines.setdefault(group.settings.get(BATCH_NORM), []).append(group)
    return {title: lines for title, lines in panels.items() if max(map(len, lines.values())) > 1}


def _against(panels: dict[str, dict[bool | None, list[Group]]], key: str) -> Figure:
    """The final test loss against one numeric option: a panel for each value of the rest, BatchNorm as colour."""
    figure, all_axes = panel_grid(len(panels), width=4.2)
    for axes, (title, lines) in zip(all_axes, panels.items(), strict=True):
        for batch_norm, groups in lines.items():
            finals = [group.final("test/loss") for group in groups]
            axes.errorbar(
                [group.settings[key] for group in groups],
                [final.mean for final in finals],
                yerr=None if any(final.sd is None for final in finals) else [final.sd for final in finals],
                color=PLAIN_COLOUR if batch_norm is False else BATCH_NORM_COLOUR,
                marker="o" if batch_norm is False else "^",
                capsize=3,
                label=None if batch_norm is None else term(BATCH_NORM, batch_norm),
            )
        if key in _LOGARITHMIC:
            values = sorted({group.settings[key] for groups in lines.values() for group in groups})
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(values))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(_AXIS.get(key, key))
        axes.set_ylabel("test loss after the last epoch,\nnats per image")
    handles, labels = all_axes[0].get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _picture_figures(section: Section) -> Iterator[tuple[str, str, Figure]]:
    for number, pair in enumerate(section.pairs, start=1):
        shown = _epoch_pictures(pair)
        if shown is not None:
            seed, figure = shown
            noisy = pair.plain.options["data.noise_std"] > 0
            yield (
                f"images_{number}",
                f"{'Denoised' if noisy else 'Reconstructed'} test images by epoch, without and with BatchNorm"
                f"{', ' + describe(pair.settings) if pair.settings else ''}: the same images"
                f"{' and the same noise' if noisy else ''} for both, seed {seed}.",
                figure,
            )
        if pair.plain.options["model.latent_dim"] == 2:
            yield from _plane_figures(pair, number)


def _epoch_pictures(pair: Pair) -> tuple[int, Figure] | None:
    """The first seed with pictures of both, and its test images with what each epoch's model makes of them."""
    for plain, normed in pair.common_runs():
        sides = [_epoch_rows(plain), _epoch_rows(normed)]
        shapes = {rows["reconstructed"].shape for side in sides for rows in side.values()}
        epochs = sorted(sides[0].keys() & sides[1].keys()) if len(shapes) == 1 else []
        if not epochs:
            continue
        chosen = sorted({epochs[round(n)] for n in np.linspace(0, len(epochs) - 1, min(_EPOCHS_SHOWN, len(epochs)))})
        first = sides[0][epochs[0]]
        given = [(name, first[name]) for name in first if name != "reconstructed"]
        num_rows = len(given) + len(chosen)
        figure, axes = plt.subplots(1, 2, figsize=(10, 0.54 * num_rows + 0.4))
        for side, title, rows in zip(axes, ("no BatchNorm", "BatchNorm"), sides, strict=True):
            bands = [images for _, images in given] + [rows[epoch]["reconstructed"] for epoch in chosen]
            bands = [
                np.hstack(np.pad(images[:_IMAGES_SHOWN], ((0, 0), (1, 1), (1, 1)), constant_values=64))
                for images in bands
            ]
            side.imshow(np.vstack(bands), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            side.set_title(title, fontsize=10)
            side.set_yticks(
                [30 * (row + 0.5) for row in range(num_rows)],
                [name for name, _ in given] + [f"epoch {epoch}" for epoch in chosen],
            )
            side.tick_params(length=0)
            side.set_xticks([])
            side.grid(False)
            side.spines[:].set_visible(False)
        return plain.seed, figure
    return None


def _epoch_rows(run: Run) -> dict[int, dict[str, np.ndarray]]:
    """{epoch: {row: images}} of the run's pictures; those that are damaged or of another version are left out."""
    found = {}
    for path in sorted(run.folder.images.glob("reconstructions_epoch_*.png")):
        try:
            rows = grids.read_rows(path)
            found[int(path.stem.rpartition("_")[2])] = rows
        except Exception:  # what a damaged picture makes Pillow raise is open-ended
            continue
    return {epoch: rows for epoch, rows in found.items() if "reconstructed" in rows}


def _plane_figures(pair: Pair, number: int) -> Iterator[tuple[str, str, Figure]]:
    for plain, normed in pair.common_runs():
        codes = [_codes(plain), _codes(normed)]
        if any(side is None for side in codes):
            continue
        rest = f"{', ' + describe(pair.settings) if pair.settings else ''}, seed {plain.seed}"
        yield (
            f"plane_{number}",
            f"The test images in the latent plane (mu), without and with BatchNorm, coloured by digit{rest}.",
            _planes(codes, list(range(10))),
        )
        yield (
            f"digit_{number}",
            f"Where the digit {_ONE_DIGIT} lies among all others (grey) in the latent plane, without and with BatchNorm{rest}.",
            _planes(codes, [_ONE_DIGIT]),
        )
        return


def _codes(run: Run) -> tuple[np.ndarray, np.ndarray] | None:
    """(mu (N, 2), labels (N,)) of the run's codes.npz; None if there is none that can be read."""
    try:
        with np.load(io.BytesIO(run.folder.codes.read_bytes()), allow_pickle=False) as file:
            mu, labels = np.asarray(file["mu"]), np.asarray(file["labels"])
    except Exception:  # what a damaged file makes numpy and zipfile raise is open-ended
        return None
    numbers = mu.dtype.kind == "f" and labels.dtype.kind in "iu" and np.isfinite(mu).all()
    return (mu, labels) if numbers and labels.ndim == 1 and mu.shape == (len(labels), 2) else None


def _planes(codes: list[tuple[np.ndarray, np.ndarray]], digits: list[int]) -> Figure:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.8))
    size = float(np.clip(20_000 / len(codes[0][0]), 3, 20))
    for side, title, (mu, labels) in zip(axes, ("no BatchNorm", "BatchNorm"), codes, strict=True):
        others = ~np.isin(labels, digits)
        side.scatter(*mu[others].T, s=size, color="0.8", linewidths=0, rasterized=True)
        scatter_digits(side, mu, labels, digits, size)
        side.set_title(title, fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, title="digit", loc="outside right center", markerscale=4)
    return figure
