"""Reads a sweep's folder: every run in it, every run that should be in it, and what became of each."""

import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vaegan import config
from vaegan.errors import UserError
from vaegan.runs import RunFolder, SweepFolder

_SAME_LOSS = 0.005  # two computations of a loss, in different precisions, differ by less
_DEEPEST = 3  # folders below the one given: outputs/<sweep>/<job>, outputs/<experiment>/<time>


@dataclass(frozen=True)
class Run:
    """One run as its folder tells it."""

    name: str
    folder: RunFolder
    state: str  # one of runs.STATES, or "damaged", or "duplicate"
    problem: str | None  # why it is not finished
    options: dict[str, Any] = field(default_factory=dict)  # config.identity; empty if not known
    rows: list[dict[str, float]] = field(default_factory=list)  # of metrics.csv
    status: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, dict[str, Any]] = field(default_factory=dict)  # RunFolder.read_evaluation
    evaluation_problem: str | None = None  # why evaluation/metrics.json is left out

    @property
    def is_finished(self) -> bool:
        return self.state == "finished"

    @property
    def seed(self) -> int:
        return self.options["seed"]

    @property
    def epoch_seconds(self) -> list[float]:
        """Seconds that each epoch took, evaluation included."""
        return self.status.get("epoch_seconds", [])

    @cached_property
    def evaluated(self) -> dict[str, dict[str, Any]]:
        """{"generation/prior/precision": {"value", "unit", "n", "standard_error"}} of all that was evaluated."""
        return {
            f"{group}/{name}": metric
            for group, found in self.evaluation.items()
            for name, metric in found["metrics"].items()
        }


def collect(path: Path) -> list[Run]:
    """The runs in `path` (a sweep's folder, a run folder, or a folder of either), and the jobs written down there.

    Raises:
        UserError: there is no run.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give one with runs, such as outputs/paper.")
    expected: dict[Path, dict[str, Any]] = {}
    folders: set[Path] = set()
    for folder in _folders(path):
        for name, job in SweepFolder(folder).read_jobs().items():
            expected[folder / name] = job["identity"]
        run = RunFolder(folder)
        if any(path.exists() for path in (run.config, run.metrics, run.status)):
            folders.add(folder)
    if not folders | expected.keys():
        raise UserError(f"{path} holds no runs; give a folder with run folders in it, such as outputs/paper.")
    return _without_duplicates(
        [_evaluated(_read(folder, path, expected.get(folder, {}))) for folder in sorted(folders | expected.keys())]
    )


def _check_finished(folder: RunFolder, rows: list[dict[str, float]], identity: dict[str, Any]) -> None:
    """Raises UserError if metrics.csv is not all that the run has recorded."""
    if not rows:
        raise UserError(f"{folder.metrics} is missing or empty, although the run has finished.")
    needed = {"train/loss"} | ({"train/reconstruction", "test/loss"} if identity["objective.kind"] != "gan" else set())
    if not needed <= rows[-1].keys():
        raise UserError(f"{folder.metrics} lacks {', '.join(sorted(needed - rows[-1].keys()))}.")
    metrics = folder.read_status().get("metrics", {})
    if any(rows[-1].get(name) != value for name, value in metrics.items()):
        raise UserError(f"{folder.metrics} does not end with the metrics that {folder.status} says the run ended with.")


def _without_duplicates(runs: list[Run]) -> list[Run]:
    """Of finished runs with the same options, seed included, only the first counts."""
    first: dict[str, str] = {}
    result = []
    for run in runs:
        if run.is_finished:
            name = first.setdefault(repr(sorted(run.options.items())), run.name)
            if name != run.name:
                run = replace(run, state="duplicate", problem=f"the same options and seed as {name}, which is counted")
        result.append(run)
    return result


def _folders(path: Path) -> list[Path]:
    found = []
    for folder, below, _ in os.walk(path):
        found.append(Path(folder))
        below[:] = sorted(below) if len(Path(folder).relative_to(path).parts) < _DEEPEST else []
    return found


def _read(path: Path, root: Path, identity: dict[str, Any]) -> Run:
    folder = RunFolder(path)
    name = str(path.relative_to(root)) if path != root else path.resolve().name
    state, problem, rows = folder.state, folder.problem, []
    if folder.config.exists() or state == "finished":
        try:
            identity = config.identity(folder.read_config())
            rows = folder.read_metrics()
            if not folder.status.exists():
                raise UserError(f"{folder.status} is missing.")
            if state == "finished":
                _check_finished(folder, rows, identity)
        except UserError as error:
            return Run(name, folder, "damaged", str(error), identity, rows, folder.read_status())
    if state == "waiting":
        problem = "never started"
    return Run(name, folder, state, problem, identity, rows, folder.read_status())


def _evaluated(run: Run) -> Run:
    """The run with what evaluation/metrics.json holds, or with the reason why that is left out."""
    try:
        groups = run.folder.read_evaluation()
        _check_trained_no_further(run, groups)
    except UserError as error:
        return replace(run, evaluation_problem=str(error))
    return replace(run, evaluation=groups)


def _check_trained_no_further(run: Run, groups: dict[str, dict[str, Any]]) -> None:
    """Raises UserError if the weights of a finished run had another loss when it was evaluated than it ended with."""
    loss = groups.get("loss", {"options": {}, "metrics": {}})
    if not run.is_finished or loss["options"].get("weights") != "model" or "loss" not in loss["metrics"]:
        return
    then, last = loss["metrics"]["loss"]["value"], run.rows[-1].get("test/loss")
    if last is not None and abs(then - last) > _SAME_LOSS * abs(last):
        raise UserError(
            f"{run.folder.evaluation_metrics} is of other weights, with a test loss of {then:.1f} where the run ended with "
            f"{last:.1f}; run `python -m vaegan.evaluate run={run.folder} again=true`."
        )
