"""The figures of evaluated runs: settings beside each other, denoising at each noise level, samples; imports no torch."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from PIL import Image

from vaegan.reporting import evaluation, grids
from vaegan.reporting.collect import Run
from vaegan.reporting.comparison import BATCH_NORM, Group, Section, describe
from vaegan.reporting.evaluation import Measured, measure
from vaegan.reporting.figures import (
    BATCH_NORM_COLOUR,
    PLAIN_COLOUR,
    STYLE,
    Picture,
    panel_grid,
    setting_panels,
    write,
)

_REFERENCE_COLOUR = "#666666"
_DASHES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 2, 1, 2)), (0, (2, 2)), (0, (8, 2, 1, 2, 1, 2)))
_WIDE_RANGE = 20  # the largest value is so many times the smallest: a logarithmic axis
_MANY_LINES = 6  # whose names stand beside a figure, not below it
_SAMPLES_SHOWN = 10
_MANY_SAMPLES = 20  # where no setting has a second row
_CAPTIONS = {
    "classes": "Which classes samples are taken for, beside real images",
    "denoising": "Mean squared error against the noise of the input, beside filters",
    "dimensions": "KL and variance of mu of each latent dimension, from the most used to the least",
    "discriminator": "Probability of being real that the discriminator gives, and how often it is right",
    "gap": "Test minus training loss after each epoch",
    "interpolations": "Straight lines between the codes of two test images",
    "latent": "The test images in the latent plane, by class",
    "latent_digits": "The test images of each class among all others (grey)",
    "latent_pca": "The test images on the first two principal components of mu, by class",
    "latent_tsne": "t-SNE of the codes of test images, by class",
    "nearest": "The samples that are nearest to a training image, and that image",
    "nearest_distances": "Distance to the nearest training image, of samples and of test images",
    "plane": "Images decoded over the latent plane, at equal steps of the prior's probability",
    "samples": "Samples, a row for where their codes come from",
    "traversals": "Images as one latent dimension moves from -3 to 3, the others at 0",
}


def draw(section: Section, folder: Path) -> Iterator[Picture]:
    """Write every figure of the section's evaluated settings into `folder`, as PNG and SVG."""
    yield from write(_figures(section), section, folder)


def _figures(section: Section) -> Iterator[tuple[str, str, Figure]]:
    with rc_context(STYLE):
        yield from _comparison(section)
        yield from _denoising(section)
        yield from _samples(section)


@dataclass(frozen=True)
class _Panel:
    """A metric of all settings: its axis, and values that depend on no model, by name."""

    metric: str
    label: str
    second: str = ""  # another metric on the same axis, drawn hollow
    scale: float = 1
    references: tuple[tuple[str, str], ...] = ()


def _comparison(section: Section) -> Iterator[tuple[str, str, Figure]]:
    groups = [group for group in section.groups if any(run.evaluated for run in group.runs)]
    panels = [panel for panel in _main_metrics(groups) if any(measure(group, panel.metric) for group in groups)]
    if len(groups) < 2 or not panels:
        return
    alike = all(
        len({repr(sorted(found.way.items())) for group in groups if (found := measure(group, panel.metric))}) == 1
        for panel in panels
    )
    hollow = " Hollow points: codes from the mixture." if any(panel.second for panel in panels) else ""
    several = any(len(group.runs) > 1 for group in groups)
    caption = (
        f"What was measured of each setting on {section.data}. "
        f"{'Points are means over seeds, bars one standard deviation' if several else 'One seed each, bars are standard errors'}"
        f".{hollow}{'' if alike else ' Not all were evaluated alike: see the tables.'}"
    )
    yield "evaluation", caption, _dots(groups, panels)


def _main_metrics(groups: list[Group]) -> list[_Panel]:
    likelihood = evaluation.likelihood(groups)
    if likelihood:
        panels = [_Panel(likelihood, f"log p(x), k = {likelihood.rpartition('_k')[2]},\nnats (higher is better)")]
    else:
        panels = [_Panel(evaluation.TEST_LOSS, "test loss,\nnats (lower is better)")]
    panels.append(
        _Panel(
            evaluation.FRECHET,
            "Fréchet distance\n(lower is better)",
            evaluation.FRECHET.replace("prior", "mixture"),
            references=((evaluation.FRECHET_FLOOR, "real against real"),),
        )
    )
    sigma = evaluation.denoising_sigma(groups) or 0.0
    filters = _filters(groups, sigma)
    best = min(filters, key=lambda name: _reference(groups, evaluation.restored(sigma, name)), default=None)
    panels.append(
        _Panel(
            evaluation.restored(sigma),
            f"squared error × 1000\nat noise {sigma:g} (lower is better)",
            scale=1000,
            references=((evaluation.restored(sigma, best), evaluation.reference_name(best)),) if best else (),
        )
    )
    panels.append(_Panel(evaluation.PROBE, "probe accuracy\n(higher is better)"))
    return panels


def _filters(groups: list[Group], sigma: float) -> list[str]:
    """The filters that were tried on images with noise sigma."""
    pattern = re.escape(evaluation.restored(sigma)).replace("/mse", r"/([^/]+)/mse")
    names = {name: None for group in groups for run in group.runs for name in run.evaluated}
    return [match[1] for name in names if (match := re.fullmatch(pattern, name))]


def _reference(groups: list[Group], name: str) -> float:
    """A value that depends on no model, of the first run that has it; NaN if none has."""
    values = [run.evaluated[name]["value"] for group in groups for run in group.runs if name in run.evaluated]
    return values[0] if values else np.nan


def _dots(groups: list[Group], panels: list[_Panel]) -> Figure:
    """A row for each setting, a panel for each metric."""
    names = [describe(group.settings) for group in groups]
    size = (_width(names) + 2.4 * len(panels), 1.4 + 0.3 * len(groups))
    figure, all_axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    places = np.arange(len(groups))
    handles = {}
    for axes, panel in zip(all_axes[0], panels, strict=True):
        values = []
        for place, group in zip(places, groups, strict=True):
            for name, hollow in ((panel.metric, False), (panel.second, True)):
                found = measure(group, name) if name else None
                if found:
                    values.append(found.estimate.mean * panel.scale)
                    _dot(axes, found, panel.scale, place, group, hollow)
        for name, label in panel.references:
            value = _reference(groups, name) * panel.scale
            if np.isfinite(value):
                values.append(value)
                style = _DASHES[1] if "real" in name else _DASHES[0]
                handles[label] = axes.axvline(
                    value, color=_REFERENCE_COLOUR, linestyle=style, linewidth=1.2, label=label
                )
        if min(values) > 0 and max(values) > _WIDE_RANGE * min(values):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.set_xlabel(panel.label)
        axes.set_yticks(places, names)
        axes.set_ylim(len(groups) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
    if any(BATCH_NORM in group.settings for group in groups):
        for name, colour, marker in (("no BatchNorm", PLAIN_COLOUR, "o"), ("BatchNorm", BATCH_NORM_COLOUR, "^")):
            handles[name] = Line2D([], [], color=colour, marker=marker, linestyle="")
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


def _width(labels: list[str]) -> float:
    """About as many inches as the longest label takes."""
    return 0.4 + 0.078 * max(map(len, labels))


def _dot(axes: Axes, found: Measured, scale: float, place: int, group: Group, hollow: bool) -> None:
    plain = group.options[BATCH_NORM] is False
    varies = BATCH_NORM in group.settings
    axes.errorbar(
        found.estimate.mean * scale,
        place + 0.18 * hollow,
        xerr=None if found.error is None else found.error * scale,
        color=PLAIN_COLOUR if plain and varies else BATCH_NORM_COLOUR,
        marker="o" if plain or not varies else "^",
        markersize=5,
        capsize=2,
        linestyle="",
        markerfacecolor="white" if hollow else None,
    )


def _denoising(section: Section) -> Iterator[tuple[str, str, Figure]]:
    """Mean squared error against sigma: a panel for each setting if BatchNorm varies, else all settings in one."""
    curves = {number: _by_sigma(group) for number, group in enumerate(section.groups)}
    groups = tuple(group for number, group in enumerate(section.groups) if len(curves[number]) > 1)
    if not groups:
        return
    pairs = tuple(pair for pair in section.pairs if pair.plain in groups and pair.batch_norm in groups)
    panels = setting_panels(replace(section, groups=groups, pairs=pairs))
    sigmas = sorted({sigma for group in groups for sigma in _by_sigma(group)})
    filters = list(dict.fromkeys(name for sigma in sigmas for name in _filters(list(groups), sigma)))
    names = [name for _, lines in panels for name, *_ in lines]
    many = len(panels) == 1 and len(names) > _MANY_LINES
    size = (5 + _width(names), max(4.0, 0.23 * (len(names) + len(filters)))) if many else ()
    figure, all_axes = panel_grid(len(panels), *size)
    for axes, (title, lines) in zip(all_axes, panels, strict=True):
        own = [group for _, group, _, _ in lines]
        for name, style in zip(filters, _DASHES * len(filters), strict=False):
            values = [1000 * _reference(own, evaluation.restored(sigma, name)) for sigma in sigmas]
            axes.plot(
                sigmas,
                values,
                linestyle=style,
                color=_REFERENCE_COLOUR,
                label=evaluation.reference_name(name),
                zorder=1,
            )
        for name, group, colour, marker in lines:
            by_sigma = _by_sigma(group)
            axes.errorbar(
                list(by_sigma),
                [1000 * found.estimate.mean for found in by_sigma.values()],
                yerr=[1000 * (found.error or 0) for found in by_sigma.values()],
                color=colour,
                marker=marker,
                markersize=4,
                capsize=2,
                label=name,
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("noise sigma of the input")
        axes.set_ylabel("squared error × 1000")
    handles, labels = all_axes[0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda n: n < len(filters))  # models first
    location = "outside right upper" if many else "outside lower center"
    figure.legend(
        [handles[n] for n in order], [labels[n] for n in order], loc=location, ncols=1 if many else min(len(labels), 3)
    )
    dashed = " Dashed: what filters make of the same images, whatever the model." if filters else ""
    several = any(len(group.runs) > 1 for group in groups)
    bars = "means over seeds, bars one standard deviation" if several else "one seed each"
    yield (
        "denoising",
        f"Denoising: mean squared error to the clean test images against the noise of the input, {bars}; the noise that a "
        f"model was trained with is in its name or the same for all.{dashed}",
        figure,
    )


def _by_sigma(group: Group) -> dict[float, Measured]:
    """{sigma: mean squared error of the model}, by sigma."""
    found = {}
    for name in {name for run in group.runs for name in run.evaluated}:
        match = re.fullmatch(r"reconstruction/sigma_(\d[\d.e+-]*)/mse", name)
        if match:
            found[float(match[1])] = measure(group, name)
    return dict(sorted(found.items()))


def _samples(section: Section) -> Iterator[tuple[str, str, Figure]]:
    shown = []
    for group in section.groups:
        found = ((run, rows) for run in group.runs if (rows := _sample_rows(run)))
        shown += [(describe(group.settings), run, rows) for run, rows in islice(found, 1)]
    if not shown:
        return
    seeds = sorted({run.seed for _, run, _ in shown})
    sources = [name for name in ("prior", "mixture") if any(name in rows for _, _, rows in shown)]
    count = _SAMPLES_SHOWN if len(sources) > 1 else _MANY_SAMPLES
    names = [name for name, _, _ in shown]
    size = (_width(names) + 0.42 * count * len(sources), 0.42 * len(shown) + 0.4)
    figure, all_axes = plt.subplots(1, len(sources), figsize=size, squeeze=False, sharey=True, layout="compressed")
    for axes, source in zip(all_axes[0], sources, strict=True):
        axes.imshow(
            sample_mosaic([rows.get(source) for _, _, rows in shown], count),
            cmap="gray",
            vmin=0,
            vmax=255,
            interpolation="nearest",
        )
        axes.set_title({"prior": "codes from the prior", "mixture": "codes from the mixture"}[source], fontsize=10)
        axes.set_yticks([_PITCH * (row + 0.5) for row in range(len(shown))], names)
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.grid(False)
        axes.spines[:].set_visible(False)
    yield (
        "samples",
        f"Samples of each setting, seed {', '.join(map(str, seeds))}: images decoded from codes of the prior"
        f"{', and of a Gaussian mixture fitted on training codes' if len(sources) > 1 else ''}.",
        figure,
    )


_PITCH = 30  # pixels of an image and the line around it


def sample_mosaic(rows: list[np.ndarray | None], count: int) -> np.ndarray:
    """The first `count` images of each row (N, 28, 28), a row below the other with lines between; None is an empty row."""
    bands = []
    for images in rows:
        band = np.full((_PITCH, _PITCH * count), 255, np.uint8)
        for column, image in enumerate(images[:count] if images is not None else []):
            band[:, _PITCH * column : _PITCH * (column + 1)] = np.pad(image, 1, constant_values=64)
        bands.append(band)
    return np.vstack(bands)


def _sample_rows(run: Run) -> dict[str, np.ndarray] | None:
    """The rows of the run's evaluation/samples.png; None if there is no such picture."""
    try:
        rows = grids.read_rows(run.folder.evaluation / "samples.png")
    except Exception:  # what a damaged picture makes Pillow raise is open-ended
        return None
    return rows if "prior" in rows else None


def of_run(run: Run, number: int, folder: Path) -> Iterator[Picture]:
    """The pictures in the evaluation folder of the report's run `number`, copied into `folder`."""
    for path in sorted(run.folder.evaluation.glob("*.png"), key=lambda path: path.stem):
        if re.fullmatch(r"[\w.-]+", path.name, re.ASCII) and _is_picture(path):
            copy = folder / f"run{number}_{path.name}"
            shutil.copyfile(path, copy)
            yield Picture(f"{_caption(path.stem)}.", copy, None)


def _caption(name: str) -> str:
    sigma = name.removeprefix("reconstruction_sigma_")
    if sigma == "0":
        return "Test images and what the model makes of them"
    if sigma != name:
        return f"Test images, the same with noise {sigma}, and what the model makes of those"
    words = name.replace("_", " ")
    return _CAPTIONS.get(name, f"{words[:1].upper()}{words[1:]}")


def _is_picture(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
            return image.format == "PNG"
    except Exception:  # what a damaged picture makes Pillow raise is open-ended
        return False
