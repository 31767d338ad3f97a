"""Everything else that is measured: start-up, sweeps, memory at d = 500, growth, and what each technique gives."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from rich.progress import Progress

from benchmarks.race import ROOT, Contestant
from benchmarks.settings import BATCH_SIZE, STEPS_AN_EPOCH, Setting
from vaegan.reporting.collect import collect


def start_up(progress: Progress) -> dict[str, float]:
    """Seconds until the answer, the shortest of five times; for smoke until its first step is done, of three."""
    python = (sys.executable, "-m", "vaegan.train")
    completion = {"COMP_LINE": "vaegan-train +experiment=de"}
    commands: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "--help": ((*python, "--help"), {}),
        "--cfg job": ((*python, "--cfg", "job"), {}),
        "tab completion": ((*python, "-sc", "query=bash"), completion),
        "a mistyped option": ((*python, "model.latent_dimm=2"), {}),
        "a wrong value": ((*python, "model.latent_dim=two"), {}),
        "import torch, pytorch_lightning, hydra": (
            (sys.executable, "-c", "import torch, pytorch_lightning, hydra"),
            {},
        ),
    }
    task = progress.add_task("start-up", total=5 * len(commands) + 3)
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(5):
        for name, (command, variables) in commands.items():
            started = time.perf_counter()
            subprocess.run(command, env=os.environ | variables, cwd=tempfile.gettempdir(), capture_output=True)
            seconds[name].append(time.perf_counter() - started)
            progress.advance(task)
    seconds["the first step of smoke is done"] = []
    for _ in range(3):
        started = time.perf_counter()
        with Contestant("smoke", Setting(2)) as contestant:
            contestant.go(steps=1)
            seconds["the first step of smoke is done"].append(time.perf_counter() - started)
        progress.advance(task)
    progress.remove_task(task)
    return {name: min(times) for name, times in seconds.items()}


def compiling(progress: Progress) -> dict[str, dict[str, float]]:
    """Seconds until the first step is done, which compiling delays: {d: {plain, compiled, compiled before}}."""
    dims = (2, 20, 100)
    task = progress.add_task("compiling", total=3 * len(dims))
    found: dict[str, dict[str, float]] = {}
    for d in dims:
        with tempfile.TemporaryDirectory() as cache:
            found[str(d)] = {}
            for what, name in (("plain", "vaegan"), ("compiled", "compiled"), ("compiled before", "compiled")):
                variables = {"TORCHINDUCTOR_CACHE_DIR": cache}
                with Contestant(name, Setting(d), variables=variables) as contestant:
                    found[str(d)][what] = contestant.go(steps=1)["seconds"]
                progress.advance(task)
    progress.remove_task(task)
    return found


def sweep(progress: Progress, latent_dim: int, jobs: int = 16, epochs: int = 10) -> dict[str, float]:
    """Seconds of a sweep from command to table: plain; compiled, the code being there; and compiling that code, in two jobs.

    And of as many hand loops one after another, their start-up not counted.
    """
    task = progress.add_task(f"a sweep of {jobs} jobs, d = {latent_dim}", total=10)
    setting = Setting(latent_dim)
    loops: list[float] = []

    def hand_loops() -> None:
        with Contestant("hand", setting) as hand:
            hand.go(steps=20)
            for _ in range(2):
                loops.append(hand.go(steps=STEPS_AN_EPOCH)["seconds"])
                progress.advance(task)

    def seconds_of(jobs: int, *more: str) -> float:
        seconds, _ = _seconds_of_sweep(jobs, *setting.options, *more, variables=cached)
        progress.advance(task)
        return seconds

    with tempfile.TemporaryDirectory() as cache:
        cached = {"TORCHINDUCTOR_CACHE_DIR": cache}
        length = f"trainer.max_epochs={epochs}"
        hand_loops()
        found = {"plain": seconds_of(jobs, length)}
        compiling = ("train.compile=true", "trainer.max_steps=1")
        found["compiling"] = seconds_of(2, *compiling) - seconds_of(2, *compiling)
        hand_loops()
        found["compiled"] = seconds_of(jobs, length, "train.compile=true")
        hand_loops()
    progress.remove_task(task)
    return found | {"hand loops": jobs * epochs * statistics.median(loops), "jobs": jobs, "epochs": epochs}


def one_more_job(progress: Progress) -> float:
    """Seconds that a job on MNIST adds to a sweep beyond its epochs' own, median of five; of jobs of one step, one at a time."""
    task = progress.add_task("one more job", total=5)
    options = (*Setting(2).options, "trainer.max_steps=1", "hydra.launcher.jobs_at_once=1")
    found = []
    for _ in range(5):
        few, of_their_epochs = _seconds_of_sweep(2, *options)
        many, of_all_epochs = _seconds_of_sweep(12, *options)
        found.append((many - of_all_epochs - few + of_their_epochs) / 10)
        progress.advance(task)
    progress.remove_task(task)
    return statistics.median(found)


def _seconds_of_sweep(jobs: int, *options: str, variables: dict[str, str] | None = None) -> tuple[float, float]:
    """Of the whole command, and of the epochs of its jobs, which include evaluation, pictures and checkpoints."""
    folder = tempfile.mkdtemp()
    started = time.perf_counter()
    seeds = f"seed={','.join(map(str, range(jobs)))}"
    command = (sys.executable, "-m", "vaegan.train", "-m", *options, seeds, f"hydra.sweep.dir={folder}")
    # Not into a pipe: the process that the jobs were forked from holds it while it ends, and that is not waited for.
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=os.environ | (variables or {}))
    seconds = time.perf_counter() - started
    statuses = [json.loads(path.read_text()) for path in Path(folder).glob("*/status.json")]
    shutil.rmtree(folder)
    return seconds, sum(sum(status["epoch_seconds"]) for status in statuses)


def precision(progress: Progress) -> list[dict[str, float | str]]:
    """Where the jobs of `+sweep=precision` end, and how long they take one at a time."""
    task = progress.add_task("float32 and bf16 to the end", total=1)
    with tempfile.TemporaryDirectory() as folder:
        command = (sys.executable, "-m", "vaegan.train", "-m", "+sweep=precision", f"hydra.sweep.dir={folder}")
        subprocess.run((*command, "hydra.launcher.jobs_at_once=1"), cwd=ROOT, check=True, capture_output=True)
        runs = collect(Path(folder))
    progress.remove_task(task)
    return [
        {
            "precision": run.options["trainer.precision"],
            "seed": run.seed,
            "test loss": run.rows[-1]["test/loss"],
            "training loss": run.rows[-1]["train/loss"],
            "seconds": sum(run.epoch_seconds),
        }
        for run in runs
    ]


def largest(progress: Progress, low_memory: str) -> dict[str, float]:
    """At d = 500, peak memory of the whole command, two steps, evaluation and checkpoint included, bytes; and seconds a step."""
    task = progress.add_task(f"memory at d = 500, low_memory={low_memory}", total=1)
    setting = Setting(500)
    with tempfile.TemporaryDirectory() as folder:
        options = (
            *setting.options,
            f"train.low_memory={low_memory}",
            "trainer.max_steps=2",
            f"hydra.run.dir={folder}/run",
        )
        process = subprocess.Popen(
            (sys.executable, "-m", "vaegan.train", *options), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"the run at d = 500 ended with status {status}")
    with Contestant("vaegan", setting, f"train.low_memory={low_memory}") as contestant:
        contestant.go(steps=2)
        seconds = statistics.median(contestant.go(steps=1)["seconds"] for _ in range(3))
    progress.remove_task(task)
    return {"peak": usage.ru_maxrss * 1024, "parameters": setting.num_parameters, "seconds": seconds}


def growth(progress: Progress) -> dict[str, list[dict[str, float]]]:
    """Seconds a step and bytes against d, the batch size and the number of images."""
    dims, sizes, times = (2, 5, 10, 20, 50, 100), (32, 128, 512, 2048), (0, 1, 2, 4)
    task = progress.add_task("growth", total=3)
    found = {"latent_dim": _by_turns({d: (Setting(d), ()) for d in dims}, steps=15)}
    progress.advance(task)
    found["batch_size"] = _by_turns({size: (Setting(20), (f"data.batch_size={size}",)) for size in sizes}, steps=3)
    progress.advance(task)
    with tempfile.TemporaryDirectory() as folder:  # x = 0: MNIST in memory
        own = {factor: (Setting(2), _own(Path(folder), factor) if factor else ()) for factor in times}
        found["images"] = _by_turns(own, steps=50)
    progress.remove_task(task)
    return found


def _by_turns(settings: dict[int, tuple[Setting, tuple[str, ...]]], steps: int) -> list[dict[str, float]]:
    """Seconds a step of vaegan, median of rounds in which each setting has its turn, all within a first epoch."""
    with ExitStack() as stack:
        contestants = {
            x: stack.enter_context(Contestant("vaegan", setting, *options))
            for x, (setting, options) in settings.items()
        }
        for contestant in contestants.values():
            contestant.go(steps=5)
        answers = [{x: contestant.go(steps=steps) for x, contestant in contestants.items()} for _ in range(8)]
    return [
        {
            "x": x,
            "seconds": statistics.median(answer[x]["seconds"] / answer[x]["steps"] for answer in answers),
            "bytes": answers[-1][x]["bytes"],
        }
        for x in contestants
    ]


def _own(folder: Path, factor: int) -> tuple[str, ...]:
    """Options for MNIST `factor` times over, as files that are memory-mapped."""
    import numpy as np

    from vaegan.data import sources
    from vaegan.data.idx import write_idx

    images = sources.load("mnist", sources.default_root())
    root = folder / str(factor)
    root.mkdir()
    for name, array, repeats in (
        ("train-images-idx3-ubyte", images.train_images.reshape(-1, 28, 28), factor),
        ("train-labels-idx1-ubyte", images.train_labels, factor),
        ("t10k-images-idx3-ubyte", images.test_images.reshape(-1, 28, 28), 1),
        ("t10k-labels-idx1-ubyte", images.test_labels, 1),
    ):
        (root / name).write_bytes(write_idx(np.concatenate([array] * repeats)))
    return ("data=own", f"data.root={root}", f"data.num_images={60_000 * factor}", f"data.batch_size={BATCH_SIZE}")


def techniques(progress: Progress) -> dict[str, dict[str, float]]:
    """{d: {technique: how many times as long a step of the hand loop takes without it}}, median of paired rounds."""
    from benchmarks.contestants import TECHNIQUES

    found: dict[str, dict[str, float]] = {}
    for latent_dim, steps, rounds in ((2, 20, 40), (20, 15, 30), (100, 3, 14)):
        task = progress.add_task(f"techniques, d = {latent_dim}", total=rounds)
        names = ("nothing", *TECHNIQUES)
        contestants = {name: Contestant("hand_without", Setting(latent_dim), name) for name in names}
        try:
            for contestant in contestants.values():
                contestant.go(steps=5)
            seconds: dict[str, list[float]] = {name: [] for name in names}
            # Many short rounds, forth and back: a machine that is shared drifts by tens of per cent.
            for number in range(rounds):
                for name in names if number % 2 else reversed(names):
                    seconds[name].append(contestants[name].go(steps=steps)["seconds"])
                progress.advance(task)
        finally:
            for contestant in contestants.values():
                contestant.__exit__()
        progress.remove_task(task)
        found[str(latent_dim)] = {
            name: statistics.median(a / b for a, b in zip(seconds[name], seconds["nothing"], strict=True))
            for name in TECHNIQUES
        }
    return found
