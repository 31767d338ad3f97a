"""From runs to numbers: what varies, means and deviations over seeds, with and without BatchNorm. No files, no pictures."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from vaegan.reporting.collect import Run
from vaegan.reporting.paper import BATCH_SIZE, TABLES, PaperTable

BATCH_NORM = "model.batch_norm"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return mean(self.values)

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; None for a single seed, which shows no spread."""
        return stdev(self.values) if self.n > 1 else None

    def show(self, digits: int = 1) -> str:
        """ "109.2 ± 0.7"; a single seed without a deviation."""
        return f"{self.mean:,.{digits}f}" + (f" ± {self.sd:,.{digits}f}" if self.sd is not None else "")


@dataclass(frozen=True)
class Group:
    """Finished runs that differ by their seed alone."""

    settings: dict[str, Any]  # the options that vary in the section, but the seed
    options: dict[str, Any]  # all of them
    runs: tuple[Run, ...]  # by seed

    @property
    def epochs(self) -> list[int]:
        return [row["epoch"] for row in min((run.rows for run in self.runs), key=len)]

    def has(self, metric: str) -> bool:
        return all(metric in row for run in self.runs for row in run.rows)

    def curve(self, metric: str, runs: Iterable[Run] | None = None) -> list[Estimate]:
        """The metric after each epoch."""
        rows = [run.rows for run in (self.runs if runs is None else runs)]
        return [Estimate(tuple(row[metric] for row in at)) for at in zip(*rows, strict=False)]

    def final(self, metric: str) -> Estimate:
        return Estimate(tuple(run.rows[-1][metric] for run in self.runs))

    def gap(self) -> list[Estimate]:
        """Test minus training loss after each epoch, both reconstruction + KL."""
        per_run = [[_test(row) - _train(row) for row in run.rows] for run in self.runs]
        return [Estimate(at) for at in zip(*per_run, strict=False)]

    def seconds(self) -> list[Estimate]:
        """Seconds of training and evaluation until the end of each epoch."""
        sums = [[math.fsum(run.epoch_seconds[: n + 1]) for n in range(len(run.epoch_seconds))] for run in self.runs]
        return [Estimate(at) for at in zip(*sums, strict=False)]

    def reach(self, loss: float) -> tuple[list[int | None], list[float | None]]:
        """Of each run, the first epoch with a test loss of at most `loss` and the seconds until its end; None if never."""
        epochs: list[int | None] = []
        seconds: list[float | None] = []
        for run in self.runs:
            index = next((n for n, row in enumerate(run.rows) if row["test/loss"] <= loss), None)
            epochs.append(None if index is None else run.rows[index]["epoch"])
            known = index is not None and index < len(run.epoch_seconds)
            seconds.append(math.fsum(run.epoch_seconds[: index + 1]) if known else None)
        return epochs, seconds


def _test(row: dict[str, float]) -> float:
    return row["test/loss"]


def _train(row: dict[str, float]) -> float:
    return row["train/reconstruction"] + row.get("train/kl", 0.0)


@dataclass(frozen=True)
class Pair:
    """The same settings without and with BatchNorm."""

    settings: dict[str, Any]  # what else varies
    plain: Group
    batch_norm: Group

    @property
    def has_test_loss(self) -> bool:
        return self.plain.has("test/loss") and self.batch_norm.has("test/loss")

    def reach(self) -> tuple[list[int | None], list[float | None]]:
        """Epochs and seconds (Group.reach) in which the runs with BatchNorm get to the mean final loss of those without."""
        return self.batch_norm.reach(self.plain.final("test/loss").mean)

    def common_runs(self) -> list[tuple[Run, Run]]:
        """(without, with) of every seed that has both."""
        by_seed = {run.seed: run for run in self.batch_norm.runs}
        return [(run, by_seed[run.seed]) for run in self.plain.runs if run.seed in by_seed]

    def gain(self, metric: str) -> list[Estimate]:
        """How much lower the metric is with BatchNorm after each epoch, seed by seed."""
        per_seed = [
            [a[metric] - b[metric] for a, b in zip(plain.rows, normed.rows, strict=False)]
            for plain, normed in self.common_runs()
        ]
        return [Estimate(at) for at in zip(*per_seed, strict=False)]


@dataclass(frozen=True)
class Section:
    """The finished runs of one data set; runs of different data sets are never put into one table."""

    data: str
    varying: tuple[str, ...]  # options with several values, but the seed
    constant: dict[str, Any]
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]

    @property
    def unpaired(self) -> tuple[Group, ...]:
        """The groups that have no other half in `pairs`."""
        paired = [group for pair in self.pairs for group in (pair.plain, pair.batch_norm)]
        return tuple(group for group in self.groups if group not in paired)


def sections(runs: Iterable[Run]) -> list[Section]:
    """The finished runs by data set, then by settings."""
    finished = [run for run in runs if run.is_finished]
    names = sorted({run.options["data.name"] for run in finished})
    return [_section(name, [run for run in finished if run.options["data.name"] == name]) for name in names]


def _section(data: str, runs: list[Run]) -> Section:
    varying = _varying(runs)
    by_settings: dict[tuple, list[Run]] = {}
    for run in runs:
        by_settings.setdefault(tuple(_hashable(run.options.get(key)) for key in varying), []).append(run)
    groups = [
        Group(
            {key: members[0].options.get(key) for key in varying},
            members[0].options,
            tuple(sorted(members, key=lambda run: run.seed)),
        )
        for _, members in sorted(by_settings.items(), key=lambda item: tuple(map(_order, item[0])))
    ]
    constant = {key: value for key, value in runs[0].options.items() if key not in varying and key != "seed"}
    return Section(data, varying, constant, tuple(groups), tuple(_pairs(groups)))


def _varying(runs: list[Run]) -> tuple[str, ...]:
    keys = dict.fromkeys(key for run in runs for key in run.options)
    varying = []
    for key in keys:
        values = {_hashable(run.options.get(key)) for run in runs}
        if key.startswith("objective."):
            values.discard(None)  # another kind of objective has no such option
        if len(values) > 1 and key != "seed":
            varying.append(key)
    if all(run.options["model.hidden_dim"] == run.options["model.latent_dim"] ** 2 for run in runs):
        varying = [key for key in varying if key != "model.hidden_dim"]  # says the same as d
    return tuple(sorted(varying, key=lambda key: (key == BATCH_NORM, list(keys).index(key))))


def _pairs(groups: list[Group]) -> Iterable[Pair]:
    def rest(group: Group) -> dict[str, Any]:
        return {key: value for key, value in group.settings.items() if key != BATCH_NORM}

    for group in groups:
        if group.settings.get(BATCH_NORM) is False:
            for other in groups:
                if other.settings[BATCH_NORM] is True and rest(other) == rest(group):
                    yield Pair(rest(group), group, other)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _order(value: Any) -> tuple:
    """Numbers by size, the rest by name, nothing first."""
    return (value is not None, isinstance(value, str), value if value is not None else 0)


_TERMS = {
    "model.latent_dim": "d = {}",
    "model.hidden_dim": "{} hidden units",
    "data.batch_size": "batch {}",
    "data.noise_std": "noise {}",
    "optimizer.vae.lr": "lr {}",
    "optimizer.discriminator.lr": "discriminator lr {}",
    "trainer.max_epochs": "{} epochs",
    "trainer.precision": "{}",
    "objective.kind": "{}",
}


def describe(settings: dict[str, Any]) -> str:
    """Settings in a few words: "d = 100, noise 0.5, BatchNorm"."""
    return ", ".join(term(key, value) for key, value in settings.items() if value is not None) or "all runs"


def term(key: str, value: Any) -> str:
    """One setting in words."""
    if key == BATCH_NORM:
        return "BatchNorm" if value else "no BatchNorm"
    if key == "data.noise_std" and value == 0:
        return "clean"
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    return _TERMS.get(key, f"{key.rpartition('.')[2].replace('_', ' ')} {{}}").format(shown)


@dataclass(frozen=True)
class BesidePaper:
    """One of the paper's tables with ours beside it."""

    table: PaperTable
    pair: Pair

    @property
    def title(self) -> str:
        noise = f", noise {self.pair.plain.options['data.noise_std']:g}" if self.table.denoising else ""
        return f"Table {self.table.number}: {self.table.title} (d = {self.table.latent_dim}{noise})"

    def rows(self) -> list[tuple[int, float, Estimate, float, Estimate]]:
        """(epoch, the paper's plain, ours, the paper's with BatchNorm, ours), in the paper's unit."""
        return [
            (epoch + 1, *pair)
            for epoch, pair in enumerate(
                zip(
                    self.table.plain,
                    map(self._scaled, self.pair.plain.curve(self.table.metric)),
                    self.table.batch_norm,
                    map(self._scaled, self.pair.batch_norm.curve(self.table.metric)),
                    strict=False,
                )
            )
        ]

    def _scaled(self, estimate: Estimate) -> Estimate:
        return Estimate(tuple(value * self.table.scale for value in estimate.values))


def beside_paper(section: Section) -> list[BesidePaper]:
    """The paper's tables whose settings these runs have; for denoising, whose sigma it does not state, at every sigma."""
    found = []
    for table in TABLES:
        for pair in section.pairs:
            options = pair.plain.options
            fits = {
                "data.name": "mnist",
                "data.num_images": None,
                "data.batch_size": BATCH_SIZE,
                "model.latent_dim": table.latent_dim,
                "model.hidden_dim": table.latent_dim**2,
                "objective.kind": "vaegan",
            }
            if all(options.get(key) == value for key, value in fits.items()) and (
                (options["data.noise_std"] > 0) == table.denoising
            ):
                found.append(BesidePaper(table, pair))
    return found


def verdict(pair: Pair) -> str:
    """Does BatchNorm give the lower test loss, and sooner? Two sentences, computed seed by seed."""
    gains = pair.gain("test/loss")
    lead = f"{describe(pair.settings)}: " if pair.settings else ""
    if not gains:
        return f"{lead}no seed was run both without and with BatchNorm."
    ahead, epochs, last = sum(gain.mean > 0 for gain in gains), len(gains), gains[-1]
    when = {epochs: f"after each of the {epochs} epochs", 0: f"after none of the {epochs} epochs"}
    lower = f"lower {when.get(ahead, f'after {ahead} of {epochs} epochs')}"
    if epochs == 1:
        lower = "lower after the only epoch" if ahead else "not lower after the only epoch"
    seeds = sum(value > 0 for value in last.values)
    spread = f", lower in {seeds} of {last.n} seeds" if last.n > 1 else ", one seed"
    plain = [run.rows[epochs - 1]["test/loss"] for run, _ in pair.common_runs()]
    first = f"{_less(gains[0].mean)} after epoch 1 and " if epochs > 1 else ""
    sentence = (
        f"{lead}with BatchNorm the test loss is {lower}: "
        f"{first}{_less(last.mean)} ({abs(last.mean) / mean(plain):.0%}) after epoch {epochs}{spread}."
    )
    reached = [epoch for epoch in pair.reach()[0] if epoch is not None]
    if len(reached) == len(pair.batch_norm.runs):
        return f"{sentence} It reaches the final loss without BatchNorm in {mean(reached):.3g} of {epochs} epochs."
    return f"{sentence} It does not reach the final loss without BatchNorm."


def _less(gain: float) -> str:
    return f"{abs(gain):.1f} nats {'less' if gain >= 0 else 'more'}"


def claim(beside: BesidePaper) -> str:
    """Does what the paper's table shows, a lower loss with BatchNorm, hold here? Two sentences, computed."""
    rows = beside.rows()
    held = sum(normed.mean < plain.mean for _, _, plain, _, normed in rows)
    holds = {len(rows): "The claim holds", 0: "The claim does not hold"}.get(held, "The claim holds in part")
    first, last = rows[0], rows[-1]

    def relative(plain: float, normed: float) -> str:
        change = normed / plain - 1
        return f"{change:+.{0 if abs(change) >= 0.01 else 1}%}".replace("-", "\N{MINUS SIGN}")

    ours = [relative(row[2].mean, row[4].mean) for row in (first, last)]
    theirs = [relative(row[1], row[3]) for row in (first, last)]
    ratios = [estimate.mean / paper for _, *row in rows for paper, estimate in (row[:2], row[2:])]
    return (
        f"{holds}: with BatchNorm the loss is lower after {held} of {len(rows)} epochs ({ours[0]} after epoch {first[0]}, "
        f"{ours[1]} after epoch {last[0]}; in the paper {theirs[0]} and {theirs[1]}). Our losses are {min(ratios):.2f} to "
        f"{max(ratios):.2f} times the paper's."
    )
