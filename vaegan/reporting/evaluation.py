"""What evaluated runs add up to: tables of means over seeds, sentences about what is better. No files, no pictures.

A metric is named group/measure or group/variant/measure, such as generation/prior/precision, and a measure of restored
images reconstruction/sigma_S/measure or reconstruction/sigma_S/filter/measure. What it is computed from (unit, n, options)
comes from the run's evaluation/metrics.json; what it means is said here.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

from vaegan.reporting.collect import Run
from vaegan.reporting.comparison import Estimate, Group, Pair, Section, describe
from vaegan.reporting.tables import Table, heading, setting_labels

FRECHET = "generation/prior/frechet_distance"
FRECHET_FLOOR = "generation/real/frechet_distance"
PROBE = "latent/probe_accuracy"
TEST_LOSS = "loss/loss"

_NONE = "\N{EN DASH}"
_LONGEST_REASON = 160  # characters
_ROUNDING = 1e-3  # of a number, between devices


@dataclass(frozen=True)
class Measured:
    """A metric of one setting, over the seeds that were evaluated alike."""

    by_seed: dict[int, float]
    way: dict[str, Any]  # the options of the evaluation, n and unit
    standard_error: float | None  # of the first seed's value
    left_out: tuple[str, ...] = ()  # seeds that were evaluated otherwise, in words

    @property
    def estimate(self) -> Estimate:
        return Estimate(tuple(self.by_seed.values()))

    @property
    def error(self) -> float | None:
        """What the number may be off by: the deviation over seeds, or the standard error of the only seed's."""
        return self.standard_error if len(self.by_seed) == 1 else self.estimate.sd


def measure(group: Group, name: str) -> Measured | None:
    """The metric over the seeds of `group`; where they were evaluated in different ways, those of the commonest count."""
    ways: dict[str, list[Run]] = {}
    for run in group.runs:
        if name in run.evaluated:
            ways.setdefault(json.dumps(_way(run, name), sort_keys=True), []).append(run)
    if not ways:
        return None
    kept = max(ways.values(), key=len)
    way = _way(kept[0], name)
    others = [run for runs in ways.values() if runs is not kept for run in runs]
    return Measured(
        {run.seed: run.evaluated[name]["value"] for run in kept},
        way,
        kept[0].evaluated[name]["standard_error"],
        tuple(f"seed {run.seed} ({_difference(_way(run, name), way)})" for run in others),
    )


def _way(run: Run, name: str) -> dict[str, Any]:
    metric = run.evaluated[name]
    return {**run.evaluation[name.partition("/")[0]]["options"], "n": metric["n"], "unit": metric["unit"]}


def _difference(way: dict[str, Any], usual: dict[str, Any]) -> str:
    keys = [key for key in {**usual, **way} if way.get(key) != usual.get(key)]
    options = [key for key in keys if key not in ("n", "unit")]  # which say why n differs
    return ", ".join(f"{_words(key)} {way.get(key)} instead of {usual.get(key)}" for key in options or keys)


def _words(name: str) -> str:
    return name.replace("_", " ")


def is_evaluated(section: Section) -> bool:
    return any(run.evaluated for group in section.groups for run in group.runs)


def _names(groups: Iterable[Group]) -> list[str]:
    """Every metric that one of the runs has, in the order in which they come."""
    return list(dict.fromkeys(name for group in groups for run in group.runs for name in run.evaluated))


# Tables


@dataclass(frozen=True)
class _Kind:
    """A table: its title, what its numbers are, and what its variants are."""

    title: str
    note: str
    variant: str = ""
    references: str = ""  # what is to be said of rows that depend on no model


_RESTORED = "Test images with noise of this sigma, restored from z = mu and compared with the clean ones."
_FILTERED = (
    "What filters make of the same images depends on no model; the setting of each is the best one on training images."
)
_KINDS = {
    "loss": _Kind(
        "Loss and likelihood",
        "Of the test images with the noise of the run: the loss is reconstruction + KL at z = mu; sampled, z is drawn from "
        "q(z|x), which makes it a bound on -log p(x). log p(x) of the clean images, in black and white, is importance-sampled "
        "with k codes an image; with few effective samples it is an underestimate. Which pixels are white is the same for "
        "everyone (fixed) or drawn by the evaluation's seed (dynamic).",
    ),
    "reconstruction/mse": _Kind("Reconstruction and denoising: mean squared error × 1000 ↓", _RESTORED, "", _FILTERED),
    "reconstruction/psnr": _Kind(
        "Reconstruction and denoising: peak signal-to-noise ratio ↑", _RESTORED, "", _FILTERED
    ),
    "reconstruction/ssim": _Kind("Reconstruction and denoising: structural similarity ↑", _RESTORED, "", _FILTERED),
    "generation": _Kind(
        "Samples",
        "Generated images beside as many real ones, in the features of a classifier of this data set, not Inception's. Codes "
        "come from the prior, or from a Gaussian mixture fitted on training codes. Precision is the share of samples among "
        "the real images, recall the share of real images among the samples. Classes covered have a tenth of their fair "
        "share; class KL is from the classes' shares to equal ones.",
        "codes from",
        "Real against real, training images against test images, is what no model can be expected to beat.",
    ),
    "latent": _Kind(
        "Latent space",
        "Of the codes of test images. Active units are dimensions whose mu varies. MMD is between the codes and the prior, "
        "its floor between two draws of the prior. The probe is a linear classifier on mu, trained on all labels or on so "
        "many. Silhouette is that of the classes.",
    ),
    "overfitting": _Kind(
        "Overfitting",
        "Losses at z = mu on as many training images as test images; the gap is test minus training. Nearest distance is "
        "from a sample to the nearest training image, beside that of test images; a ratio far below 1 or many copies (nearer "
        "than all but 1 % of the test images) would mean that training images are repeated.",
    ),
    "anomaly": _Kind(
        "Anomaly detection (AUROC)",
        "How well a score tells images of another kind from the test images: 1 is always, 0.5 is guessing, below 0.5 they "
        "look more normal than the normal ones. Higher is better.",
        "other images",
    ),
    "discriminator": _Kind(
        "Discriminator",
        "Accuracy on test images and on the kinds of fakes it was trained on: all 0.5 is a discriminator that cannot tell "
        "them apart. The calibration error is how far its probabilities are off.",
    ),
}
_REFERENCES = {
    "real": "real against real",
    "noisy": "noisy input",
    "gaussian_filter": "Gaussian filter",
    "median_filter": "median filter",
    "nl_means": "non-local means",
}


@dataclass(frozen=True)
class _Column:
    heading: str
    digits: int | None = None  # None: as many as give the largest value four figures
    scale: float = 1


# Patterns of columns, in the order of the tables.
_COLUMNS = {
    "loss/loss": _Column("test loss ↓"),
    "loss/reconstruction": _Column("reconstruction ↓"),
    "loss/kl": _Column("KL"),
    "loss/sampled_loss": _Column("sampled loss ↓"),
    "loss/sampled_reconstruction": _Column("sampled reconstruction ↓"),
    r"likelihood/log_likelihood_(\w+)_k(\d+)": _Column("log p(x) ({}, k = {}) ↑"),
    r"likelihood/effective_samples_(\w+)_k(\d+)": _Column("effective samples ({}, k = {})", 1),
    r"reconstruction/mse/sigma_(\S+)": _Column("σ = {}", 2, 1000),
    r"reconstruction/psnr/sigma_(\S+)": _Column("σ = {}", 2),
    r"reconstruction/ssim/sigma_(\S+)": _Column("σ = {}", 3),
    "generation/frechet_distance": _Column("Fréchet distance ↓"),
    "generation/kernel_distance": _Column("kernel distance × 1000 ↓", scale=1000),
    "generation/precision": _Column("precision ↑", 3),
    "generation/recall": _Column("recall ↑", 3),
    "generation/classifier_score": _Column("classifier score ↑"),
    "generation/class_coverage": _Column("classes covered ↑", 1),
    "generation/class_kl": _Column("class KL ↓", 3),
    "latent/active_units": _Column("active units", 1),
    "latent/mmd": _Column("MMD × 1000 ↓", 2, 1000),
    "latent/mmd_floor": _Column("MMD floor × 1000", 2, 1000),
    "latent/probe_accuracy": _Column("probe accuracy ↑", 3),
    r"latent/probe_accuracy_(\d+)_labels": _Column("probe on {} labels ↑", 3),
    "latent/knn_accuracy": _Column("nearest-neighbour accuracy ↑", 3),
    "latent/silhouette": _Column("silhouette ↑", 3),
    "overfitting/train_loss": _Column("training loss"),
    "overfitting/test_loss": _Column("test loss ↓"),
    "overfitting/gap": _Column("gap ↓", 2),
    "overfitting/nearest_distance": _Column("nearest distance", 2),
    "overfitting/nearest_distance_test": _Column("of test images", 2),
    "overfitting/nearest_distance_ratio": _Column("ratio", 3),
    "overfitting/copies": _Column("copies ↓", 3),
    "anomaly/reconstruction": _Column("reconstruction", 3),
    "anomaly/kl": _Column("KL", 3),
    "anomaly/loss": _Column("loss", 3),
    "anomaly/discriminator": _Column("discriminator", 3),
    r"discriminator/accuracy_(\w+)": _Column("accuracy on {}", 3),
    "discriminator/calibration_error": _Column("calibration error ↓", 3),
}


def _place(name: str) -> tuple[str, str, str]:
    """(table, variant, column) of a metric."""
    group, *variant, measure = name.split("/")
    if group == "reconstruction" and variant:
        return f"{group}/{measure}", "/".join(variant[1:]), f"{group}/{measure}/{variant[0]}"
    return "loss" if group == "likelihood" else group, "/".join(variant), f"{group}/{measure}"


def _is_reference(table: str, variant: str) -> bool:
    """Does the variant depend on no model?"""
    return variant == "real" or (table.startswith("reconstruction/") and variant != "")


def _column(name: str) -> tuple[tuple, _Column]:
    """Where a column stands, and what it is; one that is not known stands last under its own name."""
    for number, (pattern, column) in enumerate(_COLUMNS.items()):
        match = re.fullmatch(pattern, name)
        if match:
            numbers = tuple(float(part) for part in match.groups() if re.fullmatch(r"\d+(\.\d+)?(e[+-]?\d+)?", part))
            parts = [_words(part) for part in match.groups()]
            return (number, numbers), _Column(column.heading.format(*parts), column.digits, column.scale)
    return (len(_COLUMNS), ()), _Column(_words(name.rpartition("/")[2]))


def tables(section: Section) -> list[Table]:
    """A table for each group of metrics, a row for each setting that was evaluated."""
    placed: dict[str, dict[tuple[str, str], str]] = {}
    for name in _names(section.groups):
        table, *place = _place(name)
        placed.setdefault(table, {})[tuple(place)] = name
    order = [*(kind for kind in _KINDS if kind in placed), *(kind for kind in placed if kind not in _KINDS)]
    return [_table(section, kind, placed[kind]) for kind in order]


@dataclass(frozen=True)
class _Row:
    name: str  # in words
    group: Group
    variant: str
    is_reference: bool
    cells: dict[str, Measured | str]  # by column: a number, "–" for what does not apply, "" for what was not evaluated

    @property
    def measured(self) -> list[Measured]:
        return [cell for cell in self.cells.values() if isinstance(cell, Measured)]


def reference_name(variant: str) -> str:
    return _REFERENCES.get(variant, _words(variant))


def _table(section: Section, kind: str, names: dict[tuple[str, str], str]) -> Table:
    """`names` are the metrics that the table may hold, by variant and column."""
    about = _KINDS.get(kind, _Kind(_words(kind), ""))
    found = sorted(dict.fromkeys(column for _, column in names), key=lambda column: _column(column)[0])
    columns = {column: _column(column)[1] for column in found}
    variants = sorted(dict.fromkeys(variant for variant, _ in names), key=lambda variant: _is_reference(kind, variant))
    rows = []
    for variant in variants:
        for group in section.groups:
            cells = {column: _cell(group, names.get((variant, column))) for column in columns}
            if any(cells.values()):
                rows.append(_Row(describe(group.settings), group, variant, _is_reference(kind, variant), cells))
    rows = [row for row in rows if not row.is_reference] + _merged_references(rows)
    texts = _texts(columns, rows)
    with_variants = any(row.variant and not row.is_reference for row in rows)
    num_labels = max(len(section.varying), 1) + with_variants
    lines = []
    for row, cells in zip(rows, texts, strict=True):
        if row.is_reference:
            lines.append([row.name, *[""] * num_labels, *cells])
        else:
            labels = [*setting_labels(row.group.settings), *[_words(row.variant)] * with_variants]
            lines.append([*labels, _seeds(row), *cells])
    header = [heading(key) for key in section.varying] or ["setting"]
    header += [about.variant or "variant"] * with_variants
    header += ["seeds", *(column.heading for column in columns.values())]
    return Table(about.title, header, lines, _note(about, columns, rows, texts, names), num_labels)


def _cell(group: Group, name: str | None) -> Measured | str:
    if name is None:
        return ""
    return measure(group, name) or (_NONE if _reason(group, name) else "")


def _reason(group: Group, name: str) -> str | None:
    """Why no run of the group has the metric, if that is known."""
    key, _, metric = name.partition("/")
    for run in group.runs:
        for missing, reason in run.evaluation.get(key, {}).get("not_applicable", {}).items():
            # It names the metric, one of its parts (such as a variant), or with nothing the whole group.
            if not missing or f"/{missing}/" in f"/{metric}/":
                return reason
    return None


def _texts(columns: dict[str, _Column], rows: list[_Row]) -> list[list[str]]:
    """The cells of the rows, each column with the same digits and, if the rows' units differ, with units."""
    by_column = []
    for name, column in columns.items():
        cells = [row.cells[name] for row in rows]
        measured = [cell for cell in cells if isinstance(cell, Measured)]
        digits = column.digits if column.digits is not None else _digits(measured, column.scale)
        units = len({cell.way["unit"] for cell in measured}) > 1
        by_column.append(
            [
                _number(cell, column.scale, digits, row.is_reference) + f" {cell.way['unit']}" * units
                if isinstance(cell, Measured)
                else cell
                for row, cell in zip(rows, cells, strict=True)
            ]
        )
    return [list(cells) for cells in zip(*by_column, strict=True)]


def _digits(measured: list[Measured], scale: float) -> int:
    """Decimals that give the largest number four figures, and the smallest two, if three decimals can."""
    sizes = [abs(cell.estimate.mean * scale) for cell in measured if cell.estimate.mean]
    if not sizes:
        return 2
    first, last = (3 - math.floor(math.log10(max(sizes))), 1 - math.floor(math.log10(min(sizes))))
    return min(max(first, min(last, 3), 0), 6)


def _number(measured: Measured, scale: float, digits: int, is_reference: bool) -> str:
    # Of what depends on no model, all seeds find the same.
    values = [value * scale for value in (_distinct(measured) if is_reference else measured.by_seed.values())]
    text = Estimate(tuple(values)).show(digits)
    if len(values) > 1 or measured.standard_error is None:
        return text
    return f"{text} ({measured.standard_error * scale:,.{digits}f})"


def _seeds(row: _Row) -> str:
    """ "3", or "2 of 3" if only two of the runs count."""
    counts = sorted({len(measured.by_seed) for measured in row.measured}) or [len(row.group.runs)]
    total = f" of {len(row.group.runs)}" if counts[0] < len(row.group.runs) else ""
    return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) + total


def _merged_references(rows: list[_Row]) -> list[_Row]:
    """The rows that depend on no model, each once as long as all settings have found the same."""
    merged: list[_Row] = []
    for row in rows:
        if row.is_reference:
            same = (known for known in merged if known.variant == row.variant and _agree(known, row))
            known = next(same, None)
            if known is None:
                merged.append(replace(row, cells=dict(row.cells)))
            else:
                known.cells.update({column: cell for column, cell in row.cells.items() if isinstance(cell, Measured)})
    counts = Counter(row.variant for row in merged)
    return [
        replace(row, name=reference_name(row.variant) + f" ({row.name})" * (counts[row.variant] > 1)) for row in merged
    ]


def _agree(a: _Row, b: _Row) -> bool:
    """Have two rows the same numbers, of as many images, where both have one?"""
    pairs = [(a.cells[column], b.cells[column]) for column in a.cells]
    return all(
        (one.way["n"], one.way["unit"]) == (other.way["n"], other.way["unit"])
        and len(_distinct(one, other)) == max(len(_distinct(one)), len(_distinct(other)))
        for one, other in pairs
        if isinstance(one, Measured) and isinstance(other, Measured)
    )


def _distinct(*cells: Measured) -> list[float]:
    """The values that any seed has found, but those that differ as two devices do only once."""
    found: list[float] = []
    for value in (value for cell in cells for value in cell.by_seed.values()):
        if not any(math.isclose(value, other, rel_tol=_ROUNDING) for other in found):
            found.append(value)
    return found


def _note(
    about: _Kind,
    columns: dict[str, _Column],
    rows: list[_Row],
    texts: list[list[str]],
    names: dict[tuple[str, str], str],
) -> str:
    """What the numbers are, their units and counts, what is averaged and what is not there."""
    headings = " ".join([about.title, *(column.heading for column in columns.values())])
    models = [row for row in rows if not row.is_reference]
    sentences = [about.note] * bool(about.note)
    sentences += [about.references] * any(row.is_reference for row in rows)
    arrows = [text for arrow, text in (("↓", "↓ lower is better"), ("↑", "↑ higher is better")) if arrow in headings]
    sentences += [f"{', '.join(arrows)}."] * bool(arrows)
    sentences.append(_units(columns, rows))
    if any(len(cell.by_seed) > 1 for row in models for cell in row.measured):
        sentences.append("Mean ± standard deviation over seeds.")
    if any("(" in cell for cells in texts for cell in cells):
        sentences.append("In brackets: the standard error of a value that is no mean over seeds.")
    left_out = dict.fromkeys(f"{row.name}: {seed}" for row in models for cell in row.measured for seed in cell.left_out)
    if left_out:
        sentences.append(f"Evaluated otherwise and therefore left out: {'; '.join(left_out)}.")
    sentences += _differing_options(models)
    reasons = dict.fromkeys(_reasons(rows, names))
    if reasons:
        sentences.append(f"{_NONE} does not apply: {'; '.join(reasons)}.")
    if any(cell == "" for row in models for cell in row.cells.values()):
        sentences.append("An empty cell was not evaluated.")
    return " ".join(sentences)


def _units(columns: dict[str, _Column], rows: list[_Row]) -> str:
    """ "test loss, KL: nats per image, n = 10,000; MMD: squared kernel distance, n = 5,000, but 500 for d = 100." """
    alike: dict[str, list[str]] = {}
    for name, column in columns.items():
        cells = [(row.name, cell) for row in rows if isinstance(cell := row.cells[name], Measured)]
        units = {cell.way["unit"] for _, cell in cells}
        counts = _but([(f"{cell.way['n']:,}", row) for row, cell in cells])
        text = ", ".join([*units] * (len(units) == 1) + [f"n = {counts}"])
        alike.setdefault(text, []).append(column.heading.rstrip(" ↓↑"))
    if len(alike) == 1:
        return f"Unit: {next(iter(alike))}."
    return "; ".join(f"{', '.join(headings)}: {text}" for text, headings in alike.items()) + "."


def _but(values: list[tuple[str, str]]) -> str:
    """The commonest of (value, row) and the others with their rows: "10,000, but 1,000 for d = 100"."""
    [(usual, _)] = Counter(value for value, _ in values).most_common(1)
    others: dict[str, dict[str, None]] = {}
    for value, row in values:
        if value != usual:
            others.setdefault(value, {})[row] = None
    return usual + "".join(f", but {value} for {' / '.join(names)}" for value, names in others.items())


def _differing_options(rows: list[_Row]) -> list[str]:
    """Sentences about options of the evaluation that are not the same in all rows."""
    values: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for cell in row.measured:
            for key, value in cell.way.items():
                if key not in ("n", "unit"):
                    values.setdefault(key, []).append((str(value), row.name))
    return [
        f"Not evaluated alike: {_words(key)} {_but(given)}."
        for key, given in values.items()
        if len({value for value, _ in given}) > 1
    ]


def _reasons(rows: list[_Row], names: dict[tuple[str, str], str]) -> Iterable[str]:
    """Why cells are "–", and filters not there at all."""
    for row in rows:
        for column, cell in row.cells.items():
            if cell == _NONE:
                yield _shortened(_reason(row.group, names[row.variant, column]))
    if any(name.startswith("reconstruction/") for name in names.values()):
        for run in (run for row in rows for run in row.group.runs):
            for missing, reason in run.evaluation.get("reconstruction", {}).get("not_applicable", {}).items():
                variant = missing.partition("/")[2]
                if variant and variant not in {variant for variant, _ in names}:
                    yield f"{reference_name(variant)}, because {_shortened(reason)}"


def _shortened(reason: str) -> str:
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON].rstrip()}..."


def how_evaluated(section: Section) -> Table:
    """With which options each group of metrics was computed, on what, and how long that took."""
    runs = [run for group in section.groups for run in group.runs]
    alike: dict[tuple[str, str, str], list[float]] = {}
    for run in runs:
        for name, group in run.evaluation.items():
            options = ", ".join(f"{_words(key)} {value}" for key, value in group["options"].items())
            seconds = group.get("seconds")
            times = alike.setdefault((_words(name), options, str(group.get("device", ""))), [])
            times.append(seconds if isinstance(seconds, (int, float)) else math.nan)
    rows = [
        [*labels, str(len(times)), "" if math.isnan(mean(times)) else f"{mean(times):,.1f}"]
        for labels, times in sorted(alike.items())
    ]
    header = ["metrics", "options", "device", "runs", "seconds each"]
    return Table("How they were evaluated", header, rows, num_labels=3)


# Sentences


@dataclass(frozen=True)
class _Aim:
    """A metric in a sentence."""

    name: str
    words: str
    better: str  # "lower" or "higher"
    digits: int
    scale: float = 1
    unit: str = ""

    def show(self, value: float) -> str:
        return f"{value * self.scale:,.{self.digits}f}"


def likelihood(groups: Iterable[Group]) -> str | None:
    """The log-likelihood that most of the settings have; of several the one with most samples."""
    groups = list(groups)
    found = {}
    for name in _names(groups):
        match = re.fullmatch(r"likelihood/log_likelihood_(\w+)_k(\d+)", name)
        if match:
            having = sum(measure(group, name) is not None for group in groups)
            found[name] = (having, match[1] == "fixed", int(match[2]))
    return max(found, key=lambda name: found[name]) if found else None


def denoising_sigma(groups: Iterable[Group]) -> float | None:
    """The noise that most of these settings were trained with, of several the middle one; None without an evaluation at it."""
    groups = list(groups)
    evaluated = set(_names(groups))
    trained = Counter(group.options["data.noise_std"] for group in groups)
    trained = {sigma: n for sigma, n in trained.items() if sigma > 0 and restored(sigma) in evaluated}
    usual = sorted(sigma for sigma, n in trained.items() if n == max(trained.values()))
    return usual[(len(usual) - 1) // 2] if usual else None


def restored(sigma: float, variant: str = "") -> str:
    """The name of the mean squared error of images restored at noise sigma, by the model or a filter."""
    return "/".join(filter(None, ("reconstruction", f"sigma_{sigma:g}", variant, "mse")))


def _aims(groups: Iterable[Group]) -> list[_Aim]:
    """What sentences speak of: samples, likelihood, denoising."""
    groups = list(groups)
    aims = [_Aim(FRECHET, "the Fréchet distance of samples", "lower", 3)]
    name = likelihood(groups)
    if name:
        aims.append(_Aim(name, "log p(x)", "higher", 1, unit=" nats"))
    sigma = denoising_sigma(groups)
    if sigma:
        aims.append(_Aim(restored(sigma), f"the squared error × 1000 at noise {sigma:g}", "lower", 2, 1000))
    return aims


def verdict(pair: Pair) -> str | None:
    """What BatchNorm changes, seed by seed: samples, likelihood, denoising; None if nothing can be compared."""
    clauses = []
    for aim in _aims((pair.plain, pair.batch_norm)):
        plain, normed = measure(pair.plain, aim.name), measure(pair.batch_norm, aim.name)
        if plain is None or normed is None or plain.way != normed.way:
            continue
        seeds = sorted(plain.by_seed.keys() & normed.by_seed.keys())
        if not seeds:
            continue
        sign = 1 if aim.better == "higher" else -1
        gains = [sign * (normed.by_seed[seed] - plain.by_seed[seed]) for seed in seeds]
        worse = {"higher": "lower", "lower": "higher"}[aim.better]
        means = [mean(side.by_seed[seed] for seed in seeds) for side in (normed, plain)]
        agree = sum(gain * mean(gains) > 0 for gain in gains)
        spread = f"in {agree} of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
        clauses.append(
            f"{aim.words} is {aim.better if mean(gains) > 0 else worse if mean(gains) < 0 else 'the same'} "
            f"({aim.show(means[0])} against {aim.show(means[1])}{aim.unit}, {spread})"
        )
    if not clauses:
        return None
    lead = f"{describe(pair.settings)}: " if pair.settings else ""
    return f"{lead}with BatchNorm {_listed(clauses)}."


def best(section: Section) -> str | None:
    """Which setting is best at what, and how far that is; None if fewer than two settings can be compared."""
    clauses = []
    for aim in _aims(section.groups):
        measured = [(found, group) for group in section.groups if (found := measure(group, aim.name))]
        if len(measured) < 2 or any(found.way != measured[0][0].way for found, _ in measured):
            continue
        pick = min if aim.better == "lower" else max
        found, group = pick(measured, key=lambda entry: entry[0].estimate.mean)
        most = {"lower": "lowest", "higher": "highest"}[aim.better]
        clauses.append(
            f"{most} {aim.words.removeprefix('the ')} of {len(measured)} settings: {aim.show(found.estimate.mean)}{aim.unit} "
            f"({describe(group.settings)})"
        )
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}." if text else None


def _listed(clauses: list[str]) -> str:
    return ", ".join(clauses[:-1]) + " and " * (len(clauses) > 1) + clauses[-1] if clauses else ""


def sentences(section: Section) -> list[str]:
    """A line for each pair without and with BatchNorm, and which setting of all is best."""
    lines = [line for pair in section.pairs if (line := verdict(pair))]
    line = best(section) if len(section.groups) > 2 or not section.pairs else None
    return [*lines, line] if line else lines


def headline(section: Section) -> list[str]:
    """How much was evaluated and what the most important numbers are, in two lines."""
    runs = [run for group in section.groups for run in group.runs]
    num_evaluated = sum(bool(run.evaluated) for run in runs)
    if not num_evaluated:
        return []
    lines = [f"evaluated: {num_evaluated} of {len(runs)} finished runs on {section.data}"]
    if len(section.groups) > 1:
        return lines + sentences(section)[-1:]
    [group] = section.groups
    values = []
    for aim in _aims([group]):
        found = measure(group, aim.name)
        if found:
            values.append(f"{aim.words.removeprefix('the ')} {aim.show(found.estimate.mean)}{aim.unit}")
    return [*lines, ", ".join(values)] if values else lines
