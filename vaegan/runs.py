"""The run folder: what is in it, how it is written, how a model comes back from it.

    config.yaml          every option, checked and resolved
    status.json          state (running, finished, interrupted, failed), epoch, final metrics, timings, versions, git revision
    metrics.csv          one row an epoch
    checkpoints/         last.ckpt; previous.ckpt, the one before; best.ckpt if there is a validation set
    model.safetensors    the weights after the last epoch
    images/              reconstructions and samples as PNG, curves.png
    codes.npz            only for d = 2: mu (N, 2) and labels (N,) of the test set after the last epoch
    evaluation/          what `python -m vaegan.evaluate` found: metrics.json and pictures as PNG
    tensorboard/

Imports no torch until a model is asked for.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from vaegan import __version__, config, sealed
from vaegan.errors import UserError
from vaegan.files import write_whole

if TYPE_CHECKING:
    from vaegan.cli import Composition
    from vaegan.model import VAEGAN


class RunFolder:
    """Names of what a run folder holds."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.status = self.path / "status.json"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "checkpoints" / "last.ckpt"
        self.previous = self.path / "checkpoints" / "previous.ckpt"
        self.best = self.path / "checkpoints" / "best.ckpt"
        self.model = self.path / "model.safetensors"
        self.images = self.path / "images"
        self.codes = self.path / "codes.npz"
        self.evaluation = self.path / "evaluation"
        self.evaluation_metrics = self.evaluation / "metrics.json"
        self.tensorboard = self.path / "tensorboard"

    def __str__(self) -> str:
        return str(self.path)

    def weights(self, name: Literal["model", "last", "previous", "best"]) -> Path:
        """The file of the finished run's weights, or a checkpoint."""
        return {"model": self.model, "last": self.last, "previous": self.previous, "best": self.best}[name]

    def other_checkpoints(self, than: Path) -> list[str]:
        """Names, as train.checkpoint takes them, of the checkpoints there are but `than`."""
        files = {name: self.weights(name) for name in ("last", "previous", "best")}
        return [name for name, file in files.items() if file != than and file.is_file()]

    def read_config(self) -> config.Config:
        """The configuration of the run.

        Raises:
            UserError: the folder holds no run, or its config.yaml is damaged or of options this version does not know.
        """
        if not self.config.is_file():
            near = [*self.path.glob("*/config.yaml"), *(parent / "config.yaml" for parent in self.path.parents[:2])]
            runs = sorted(str(path.parent) for path in near if path.is_file())
            hint = f"did you mean {runs[-1]}?" if runs else "give one, such as outputs/vaegan/<time>."
            raise UserError(f"{self.path} is not a run folder: it has no config.yaml; {hint}")
        try:
            raw = OmegaConf.to_container(OmegaConf.load(self.config), resolve=False)
        except Exception as error:  # yaml and OmegaConf raise many kinds
            raise UserError(f"{self.config} is not readable YAML ({type(error).__name__}).") from error
        if not isinstance(raw, dict):
            raise UserError(f"{self.config} holds no options.")
        try:
            return config.check(raw)
        except UserError as error:
            raise UserError(f"{self.config}: {error}") from error

    def write_config(self, run_config: config.Config) -> None:
        values = config.to_dict(run_config)
        values["train"] |= {"resume": None, "checkpoint": "last"}  # how the run goes on is not what it is
        write_whole(self.config, OmegaConf.to_yaml(values))

    def write_status(self, status: dict[str, Any]) -> None:
        write_whole(self.status, json.dumps(status, indent=2) + "\n")

    def read_status(self) -> dict[str, Any]:
        """status.json; empty if there is none or it is damaged, and without entries that cannot be what they should."""
        try:
            status = json.loads(self.status.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(status, dict):
            return {}
        return {key: value for key, value in status.items() if _STATUS.get(key, lambda value: True)(value)}

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Write metrics.csv whole: floats with every digit, so that equal runs have equal files."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.metrics, text.getvalue())

    def read_metrics(self) -> list[dict[str, float]]:
        """The rows of metrics.csv; `epoch` and `step` are whole numbers. None, if there is no such file.

        Raises:
            UserError: metrics.csv is damaged.
        """
        if not self.metrics.is_file():
            return []
        try:
            with self.metrics.open(newline="") as file:
                rows = list(csv.DictReader(file, strict=True))
            rows = [{key: int(v) if key in ("epoch", "step") else float(v) for key, v in row.items()} for row in rows]
            if [row["epoch"] for row in rows] != list(range(1, len(rows) + 1)):
                raise ValueError("its epochs are not 1, 2, 3, ...")
            if not all(abs(value) < _LARGEST for row in rows for value in row.values()):  # false for NaN
                raise ValueError("a value is not finite")
            return rows
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise UserError(f"{self.metrics} is damaged ({type(error).__name__}: {error}).") from error

    def read_evaluation(self) -> dict[str, dict[str, Any]]:
        """{group: {"options", "metrics", "not_applicable", "arrays", ...}} of evaluation/metrics.json, checked.

        A metric is {"value", "unit", "n", "standard_error"}; `not_applicable` says why metrics are missing, "" meaning the
        whole group. Empty, if there is no such file.

        Raises:
            UserError: metrics.json is damaged.
        """
        if not self.evaluation_metrics.is_file():
            return {}
        try:
            groups = json.loads(self.evaluation_metrics.read_text())["groups"]
            for name, group in groups.items():
                _check_evaluation_group(name, group)
            return groups
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.evaluation_metrics} is damaged ({type(error).__name__}: {error}); run `python -m vaegan.evaluate "
                f"run={self.path} again=true`."
            ) from error

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder for one process; the system lets go of it when the process ends, however it ends.

        Raises:
            UserError: another process holds it.
        """
        with in_use(self.path):
            yield

    @property
    def state(self) -> str:
        """What became of the run: "waiting" (never began), "running", "finished", "interrupted", "failed" or "not run"
        (refused before it began). A run whose process died without a word has failed.
        """
        state = self.read_status().get("state", "waiting")
        if state == "running" and not self._is_held():
            return "failed"
        return state if state in STATES else "failed"

    @property
    def problem(self) -> str | None:
        """Why the run is not finished, in a line, as far as its status says."""
        state, error = self.state, self.read_status().get("error")
        if state in ("finished", "running"):
            return None
        lines = str(error or "").strip().splitlines()
        if lines:
            return lines[-1]
        return "its process died without a word" if state == "failed" else None

    def _is_held(self) -> bool:
        lock = self.path / ".lock"
        if not lock.exists():
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # a medium that cannot be written: nobody trains there
            return False


ENDED = ("finished", "interrupted", "failed", "not run")
STATES = ("waiting", "running", *ENDED)
_LARGEST = 1e30


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < _LARGEST


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _check_evaluation_group(name: str, group: dict[str, Any]) -> None:
    """Raises ValueError, TypeError, KeyError or AttributeError if `group` is no group of evaluation/metrics.json."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise ValueError(f"{name[:80]!r} is no name of a group")
    for key, metric in group["metrics"].items():
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+(/[A-Za-z0-9_.+-]+)*", key):
            raise ValueError(f"{key[:80]!r} is no name of a metric")
        error = metric["standard_error"]
        measured = _is_number(metric["value"]) and (error is None or (_is_number(error) and error >= 0))
        if not measured or not isinstance(metric["unit"], str) or not _is_count(metric["n"]):
            raise ValueError(f"{name}/{key} is not a finite number with unit, n and standard error")
    if not isinstance(group["options"], dict):
        raise ValueError(f"the options of {name} are not a group of options")
    if not all(isinstance(reason, str) for reason in group["not_applicable"].values()):
        raise ValueError(f"a reason in {name} is not text")
    if not all(isinstance(array, list) and all(map(_is_number, array)) for array in group["arrays"].values()):
        raise ValueError(f"an array in {name} is not a list of finite numbers")


# What an entry of status.json must be for a reader to use it.
_STATUS = {
    "state": lambda value: isinstance(value, str),
    "epoch": _is_count,
    "step": _is_count,
    "max_epochs": _is_count,
    "epoch_seconds": lambda value: isinstance(value, list) and all(map(_is_number, value)),
    "metrics": lambda value: isinstance(value, dict) and all(map(_is_number, value.values())),
    "versions": lambda value: isinstance(value, dict),
    **dict.fromkeys(("error", "started", "device", "revision", "experiment"), _is_text),
}


@contextmanager
def in_use(folder: Path) -> Iterator[None]:
    """Hold `folder` for one process, as RunFolder.in_use does."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / ".lock"
    try:
        with FileLock(lock, timeout=0):
            try:
                yield
            finally:
                if folder.is_dir() and list(folder.iterdir()) == [lock]:  # nothing was begun
                    lock.unlink()
    except Timeout:
        raise UserError(f"{folder} is in use by another run; wait for it, or choose another folder.") from None


class SweepFolder:
    """The folder of a multirun.

    sweep.json     every job ever asked for, written before the first one starts
    <job>/         a run folder, and output.log, what the job printed
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.jobs = self.path / "sweep.json"

    def read_jobs(self) -> dict[str, dict[str, Any]]:
        """{job name: {"experiment", "overrides", "identity"}}; empty if there is no sweep.json.

        Raises:
            UserError: sweep.json is damaged.
        """
        try:
            jobs = json.loads(self.jobs.read_text())["jobs"]
            keys = ("experiment", "overrides", "identity")
            jobs = {name: {key: entry[key] for key in keys} for name, entry in jobs.items()}
            for name, entry in jobs.items():
                if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", name) or not isinstance(
                    entry["identity"], dict
                ):
                    raise ValueError(f"{name[:80]!r} is no job")
            return jobs
        except FileNotFoundError:
            return {}
        except NotADirectoryError as error:
            raise UserError(
                f"{self.path} is a file, not a folder for a sweep; choose another hydra.sweep.dir."
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{self.jobs} is damaged ({type(error).__name__}: {error}); delete it, finished jobs are found without it."
            ) from error

    def write_jobs(self, jobs: dict[str, dict[str, Any]]) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_whole(self.jobs, json.dumps({"vaegan": __version__, "jobs": jobs}, indent=1) + "\n")


@dataclass(frozen=True)
class Plan:
    """A run that is about to start or to go on."""

    config: config.Config
    folder: RunFolder
    experiment: str
    overrides: list[str]
    checkpoint: Path | None = None  # where the run goes on; None: from its beginning

    @property
    def resumed(self) -> bool:
        return self.checkpoint is not None


def plan(composition: "Composition") -> Plan:
    """What the command line asks for, checked; nothing is written yet.

    Raises:
        UserError: a bad option, or a resumed run that is finished or asked to become another one.
    """
    requested = config.check(composition.values)
    if composition.in_sweep and RunFolder(composition.run_folder).config.exists():
        # The sweep has seen that this is the same job, begun earlier.
        requested = replace(requested, train=replace(requested.train, resume=str(composition.run_folder)))
    if requested.train.resume is None:
        return Plan(requested, RunFolder(composition.run_folder), composition.experiment, composition.overrides)
    folder = RunFolder(requested.train.resume)
    requested = _resumed_config(requested, folder, composition.overrides)
    status = folder.read_status()
    is_over = status.get("state") == "finished" and status.get("epoch", 0) >= requested.trainer.max_epochs
    if is_over and requested.train.checkpoint == "last":
        raise UserError(
            f"{folder} has finished its {status['epoch']} epochs; give it more with trainer.max_epochs=N to go on."
        )
    experiment = status.get("experiment", composition.experiment)
    return Plan(requested, folder, experiment, composition.overrides, _checkpoint(folder, requested.train.checkpoint))


def _checkpoint(folder: RunFolder, name: Literal["last", "previous", "best"]) -> Path | None:
    """Where a run goes on. None if it was stopped before its first checkpoint: it starts again."""
    path = folder.weights(name)
    if path.is_file():
        return path
    if name == "last" and not folder.previous.is_file():
        return None
    others = folder.other_checkpoints(path)
    hint = f"choose train.checkpoint={others[0]}." if others else "leave train.checkpoint out."
    raise UserError(f"train.checkpoint={name}: {path} does not exist; {hint}")


@contextmanager
def held(plan: Plan) -> Iterator[None]:
    """The plan's folder, held for this process and free to be written.

    Raises:
        UserError: another process holds it, or it holds a run that `plan` does not go on with.
    """
    with plan.folder.in_use():
        if plan.config.train.resume is None and plan.folder.config.exists():
            raise UserError(
                f"{plan.folder} already holds a run; resume it with train.resume={plan.folder} or choose another folder."
            )
        for left_by_a_kill in plan.folder.path.rglob("*.part"):
            left_by_a_kill.unlink()
        yield


def _resumed_config(requested: config.Config, folder: RunFolder, overrides: list[str]) -> config.Config:
    """The stored configuration, with what the command line may still change (config.is_changeable).

    A group or experiment on the command line asks for all its options; otherwise only the options named there count, and
    everything else is the stored run's.
    """
    try:
        stored = config.flatten(config.to_dict(folder.read_config()))
    except (UserError, OSError) as error:
        raise UserError(f"train.resume: {error}") from error
    wanted = config.flatten(config.to_dict(requested))
    named = {override.lstrip("+~").partition("=")[0] for override in overrides}
    if named <= set(wanted):
        wanted = {key: value for key, value in wanted.items() if key in named}
    result = dict(stored)
    for key, value in wanted.items():
        if (key, value) == ("trainer.precision", "auto"):
            continue  # what it meant when the run started is stored
        if config.is_changeable(key):
            result[key] = value
        elif value != stored.get(key):
            raise UserError(
                f"{key} is {value!r} here but {stored.get(key)!r} in the run of {folder}; resume with the settings it was "
                f"trained with (train.resume alone takes them), or start a new run."
            )
    if result["optimizer.schedule"] == "cosine" and result["trainer.max_epochs"] != stored["trainer.max_epochs"]:
        raise UserError(
            f"trainer.max_epochs must stay {stored['trainer.max_epochs']}: optimizer.schedule=cosine was laid out for it."
        )
    result["train.resume"] = str(folder)
    return config.check(_nested(result))


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *groups, key = name.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[key] = value
    return tree


def load_run(
    path: Path | str, weights: Literal["model", "last", "previous", "best"] = "model", device: str = "cpu"
) -> "VAEGAN":
    """The trained model of a run folder, in eval mode on `device`, its parameters without gradients.

    Args:
        path: a run folder.
        weights: "model" for those of a finished run; "last", "previous" or "best" for a checkpoint's.
        device: anything torch accepts, such as "cuda".

    Raises:
        UserError: not a run folder, or the weights are missing, damaged or of other settings.
    """
    import torch

    from vaegan.model import VAEGAN

    folder = RunFolder(path)
    run_config = folder.read_config()
    file = folder.weights(weights)
    if weights == "model":
        state = sealed.load_weights(file)
    else:
        state = sealed.load_checkpoint(file)["state_dict"]
        state = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    with torch.device("meta"):  # allocates nothing: the loaded tensors become the parameters
        model = VAEGAN(run_config.model, run_config.objective)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise UserError(f"{file} does not fit {folder.config}; one of them belongs to another run.") from error
    return model.to(device).eval().requires_grad_(False)
