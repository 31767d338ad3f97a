"""The jobs of a sweep: which there are, what each is called, and where that is written down.

<sweep folder>/sweep.json     every job ever asked for, written before the first one starts
<sweep folder>/<job>/         a run folder (vaegan/runs.py), and output.log, what the job printed
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vaegan import config
from vaegan.cli import Composition
from vaegan.errors import UserError
from vaegan.runs import RunFolder, SweepFolder

_LONGEST_NAME = 80
_SMALL = 400  # hidden units, those of d = 20


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    name: str
    composition: Composition
    config: config.Config
    folder: RunFolder

    @property
    def cost(self) -> float:
        """Roughly proportional to how long it takes: multiplications of one layer's pass over all epochs, plus overhead."""
        model, data, epochs = self.config.model, self.config.data, self.config.trainer.max_epochs
        return epochs * data.num_train * (model.hidden_dim * (2 * 784 + 3 * model.latent_dim) + 1e5)

    @property
    def is_small(self) -> bool:
        return is_small(self.config)


def is_small(config: config.Config) -> bool:
    """Is one thread enough for the run? Then several such runs at once are done sooner than one after the other."""
    return config.model.hidden_dim <= _SMALL


def lay_out(compositions: Iterable[Composition], swept: list[str], folder: Path) -> list[Job]:
    """The jobs of a sweep, checked and named; nothing is written yet. Equal configurations become one job.

    A job that the folder knows keeps its name; a name whose job has another configuration is never used for it.

    Args:
        compositions: one a job.
        swept: the keys of the overrides that tell the jobs apart.
        folder: the sweep's.

    Raises:
        UserError: a configuration is refused.
    """
    known = SweepFolder(folder).read_jobs()
    jobs: dict[str, Job] = {}
    for composition in compositions:
        checked = config.check(composition.values)
        if checked.train.resume is not None:
            raise UserError("train.resume is for a single run; a sweep goes on by itself when it is started again.")
        if checked.trainer.devices > 1:
            raise UserError(
                f"trainer.devices is {checked.trainer.devices}, but the jobs of a sweep share this machine's devices, one to "
                f"each; leave it 1, or start single runs."
            )
        identity = config.identity(checked)
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        plain_name = _name(composition, swept)
        candidates = [name for name, entry in known.items() if entry["identity"] == identity]
        candidates += [plain_name, f"{plain_name}-{digest[:6]}", f"{plain_name}-{digest}"]
        name = next(
            name
            for name in candidates
            if known.get(name, {"identity": identity})["identity"] == identity and _is_free_for(checked, folder / name)
        )
        known[name] = {"identity": identity}
        composition = replace(composition, run_folder=folder / name)
        jobs.setdefault(name, Job(name, composition, checked, RunFolder(folder / name)))
    return list(jobs.values())


def write_down(jobs: list[Job], folder: Path) -> None:
    """Add the jobs to sweep.json."""
    sweep = SweepFolder(folder)
    entries = {
        job.name: {
            "experiment": job.composition.experiment,
            "overrides": job.composition.overrides,
            "identity": config.identity(job.config),
        }
        for job in jobs
    }
    sweep.write_jobs(sweep.read_jobs() | entries)


def sweep_name(swept: list[str], experiment: str | None) -> str:
    """What a sweep without a name of its own is called: by its experiment and what it sweeps over."""
    parts = [experiment] if experiment and "experiment" not in map(_bare, swept) else []
    return _safe("-".join([*parts, *map(_short(swept).get, swept)]) or "default")


def _name(composition: Composition, swept: list[str]) -> str:
    """ "denoise_bn-seed0", "noise_std0.25-no_batch_norm": short, and safe in a file name and on a command line."""
    values = dict(override.split("=", 1) for override in composition.overrides if "=" in override)
    short = _short(swept)
    parts = [_part(short[key], values[key]) for key in swept if key in values]
    return _safe("-".join(parts) or composition.experiment)


def _part(key: str, value: str) -> str:
    value = value.strip("'\"")
    if value.lower() in ("true", "false"):
        return key if value.lower() == "true" else f"no_{key}"
    if re.match(r"[-+.\d]", value):
        return f"{key}{value}"
    return value if key in ("experiment", "data", "objective", "model", "optimizer") else f"{key}_{value}"


def _short(keys: list[str]) -> dict[str, str]:
    """{key: its last part, or more of it where two keys end alike}."""
    bare = {key: _bare(key) for key in keys}
    lasts = [name.rpartition(".")[2] for name in bare.values()]
    return {
        key: last if lasts.count(last) == 1 else name.replace(".", "_")
        for (key, name), last in zip(bare.items(), lasts, strict=True)
    }


def _bare(key: str) -> str:
    return key.lstrip("+~").partition("@")[0]


def _safe(name: str) -> str:
    safe = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._-") or "job"
    if safe == "report":  # where a report goes (vaegan/report.py)
        safe = "report_"
    if len(safe) > _LONGEST_NAME:
        safe = f"{safe[: _LONGEST_NAME - 7]}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
    return safe


def _is_free_for(wanted: config.Config, path: Path) -> bool:
    """May a job of this configuration use the folder? If there is none, or it holds this very run."""
    folder = RunFolder(path)
    if not folder.config.exists():
        return True
    try:
        stored = config.identity(folder.read_config())
    except UserError:
        return False
    identity = config.identity(wanted)
    if identity["trainer.precision"] == "auto":  # what it meant is stored
        identity["trainer.precision"] = stored["trainer.precision"]
    return identity == stored
