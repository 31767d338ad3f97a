"""The contestants by turns: every round each of them trains the same number of steps while the others wait."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from benchmarks.settings import STEPS_AN_EPOCH, Setting

ROOT = Path(__file__).parents[1]
PYTHAE = ROOT / ".venv" / "bench"  # where `make bench` installs it, so that it changes nothing else


class Contestant:
    """One contestant's process, which trains when it is told to."""

    def __init__(self, name: str, setting: Setting, *arguments: object, variables: dict[str, str] | None = None):
        self.name = name
        self.setting = setting
        self.losses: list[float] = []
        what = (name, setting.latent_dim, setting.precision, setting.threads, *arguments)
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed with the process)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *map(str, what)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            cwd=ROOT,
            env=os.environ | (variables or {}) | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(PYTHAE)])},
        )

    def go(self, **command: int) -> dict[str, Any]:
        """Train on; {"seconds", "steps", "bytes", ...} of it. Raises RuntimeError with what the process said last."""
        try:
            print(json.dumps(command), file=self._process.stdin, flush=True)
            answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            self._process.wait()
            self._log.seek(0)
            last = self._log.read().strip().splitlines()[-1:]
            raise RuntimeError(f"{self.name} at {self.setting} ended: {' '.join(last)}") from error
        self.losses += answer.pop("losses")
        return answer

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Plan:
    """How one comparison is made."""

    latent_dim: int
    precision: str
    steps: int  # a round
    rounds: int
    epochs: int  # whole ones of vaegan, beside as many steps of the hand loop
    names: tuple[str, ...] = ("tutorial", "hand", "pythae", "lightning", "vaegan", "compiled")


_OURS = ("vaegan", "compiled")
_WITHOUT_PYTHAE = ("tutorial", "hand", "lightning", "vaegan", "compiled")
PLANS = (
    Plan(2, "32-true", 100, 12, 4),
    Plan(20, "32-true", 60, 12, 4),
    Plan(20, "bf16-mixed", 60, 12, 4, _WITHOUT_PYTHAE),
    Plan(100, "32-true", 10, 6, 3),
    Plan(100, "bf16-mixed", 10, 6, 1, _WITHOUT_PYTHAE),
)
# At d = 500 a model with its Adam state takes 12.3 GB, so the contestants come one after another.
ONE_BY_ONE = (
    Plan(500, "32-true", 2, 1, 0, _WITHOUT_PYTHAE[:-1]),
    Plan(500, "bf16-mixed", 2, 1, 0, _WITHOUT_PYTHAE[:-1]),
)


def race(plan: Plan, progress: Progress) -> dict[str, Any]:
    """Seconds a step of each contestant in each round, whole epochs of vaegan and of the hand loop, and the losses."""
    task = progress.add_task(f"d = {plan.latent_dim}, {plan.precision}", total=plan.rounds + plan.epochs)
    contestants: dict[str, Contestant] = {}
    left_out = {}
    try:
        for name in plan.names:
            try:
                contestants[name] = best_of(name, plan)
            except RuntimeError as error:
                left_out[name] = str(error)
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        memory = {}
        for _ in range(plan.rounds):
            for name, contestant in contestants.items():
                answer = contestant.go(steps=plan.steps)
                seconds[name].append(answer["seconds"] / answer["steps"])
                memory[name] = answer["bytes"]
            progress.advance(task)
        ours = [name for name in _OURS if name in contestants]
        epochs: dict[str, list[dict[str, float]]] = {name: [] for name in ("hand", *ours)}
        for name in ours:
            contestants[name].go(epochs=1)  # to where one begins
        for _ in range(plan.epochs):
            epochs["hand"].append(contestants["hand"].go(steps=STEPS_AN_EPOCH))
            for name in ours:
                epochs[name].append(contestants[name].go(epochs=1))
            progress.advance(task)
        return {
            "plan": asdict(plan),
            "seconds": seconds,
            "epochs": epochs,
            "bytes": memory,
            "threads": {name: contestant.setting.threads for name, contestant in contestants.items()},
            "loss": _losses(contestants),
            "left_out": left_out,
        }
    finally:
        for contestant in contestants.values():
            contestant.__exit__()
        progress.remove_task(task)


def race_one_by_one(plan: Plan, progress: Progress) -> dict[str, Any]:
    """The same where two of them do not fit into memory; a first step, in which Adam's state is made, is not counted."""
    task = progress.add_task(f"d = {plan.latent_dim}, {plan.precision}", total=len(plan.names))
    found: dict[str, Any] = {
        "plan": asdict(plan),
        "seconds": {},
        "bytes": {},
        "threads": {},
        "left_out": {},
        "epochs": {},
    }
    contestants = {}
    for name in plan.names:
        with Contestant(name, Setting(plan.latent_dim, plan.precision)) as contestant:
            contestants[name] = contestant
            contestant.go(steps=2)
            answers = [contestant.go(steps=1) for _ in range(plan.steps)]
            found["seconds"][name] = [answer["seconds"] for answer in answers]
            found["bytes"][name] = answers[-1]["bytes"]
            found["threads"][name] = contestant.setting.threads
        progress.advance(task)
    progress.remove_task(task)
    return found | {"loss": _losses(contestants)}


def best_of(name: str, plan: Plan) -> Contestant:
    """The contestant, warmed up, with the number of threads, and for the tutorial of workers, with which it is fastest.

    vaegan runs as it comes: with the threads that torch takes by itself.
    """
    cores = len(os.sched_getaffinity(0))
    choices = [(threads, ()) for threads in ((1, cores) if plan.latent_dim <= 20 and name not in _OURS else (cores,))]
    if name == "tutorial":
        choices = [(threads, (workers,)) for threads, _ in choices for workers in (0, 2)]
    best, shortest = None, float("inf")
    for threads, arguments in choices:
        contestant = Contestant(name, Setting(plan.latent_dim, plan.precision, threads), *arguments)
        try:
            contestant.go(steps=10)
            answer = min((contestant.go(steps=plan.steps) for _ in range(2)), key=lambda answer: answer["seconds"])
        except RuntimeError:
            contestant.__exit__()
            raise
        if answer["seconds"] < shortest:
            best, contestant, shortest = contestant, best, answer["seconds"]
        if contestant is not None:
            contestant.__exit__()
    return best


def _losses(contestants: dict[str, Contestant]) -> dict[str, float]:
    """The mean loss of the last quarter of the steps that all have done, in nats per image. (pythae's is another loss.)"""
    num = min(len(contestant.losses) for contestant in contestants.values())
    return {
        name: statistics.fmean(contestant.losses[num * 3 // 4 : num])
        for name, contestant in contestants.items()
        if name != "pythae"
    }
