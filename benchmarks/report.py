"""docs/performance.md and its pictures, from the figures of benchmarks/figures."""

import os
import platform
import statistics
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from benchmarks.floor import floor
from benchmarks.race import ROOT
from benchmarks.settings import STEPS_AN_EPOCH, Setting

_PAGE = ROOT / "docs" / "performance.md"
_IMAGES = ROOT / "docs" / "images"
_BEGIN, _END = "<!-- figures: make bench -->", "<!-- end of figures -->"
_NAMES = {
    "tutorial": "(a) tutorial loop",
    "hand": "(b) hand loop",
    "pythae": "(d) pythae",
    "lightning": "(e) plain LightningModule",
    "vaegan": "T: vaegan, its steps",
    "compiled": "T with train.compile",
}
_OURS = {"vaegan": "", "compiled": ", compiled"}
_COLOURS = {
    "tutorial": "#999999",
    "hand": "#009E73",
    "pythae": "#CC79A7",
    "lightning": "#E69F00",
    "vaegan": "#0072B2",
} | {"compiled": "#56B4E9"}


def machine() -> dict[str, str]:
    """Where and with what was measured."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in ("vaegan", "torch", "pytorch-lightning", "hydra-core"))
    return {
        "cpu": f"{len(os.sched_getaffinity(0))} cores of {cpu} ({torch.backends.cpu.get_cpu_capability()}), "
        f"{platform.system()} {platform.machine()}",
        "versions": f"{versions}, Python {platform.python_version()}",
    }


def write(kept: dict[str, Any]) -> list[Path]:
    """Replace the figures of docs/performance.md, and draw its pictures; what was written."""
    parts, written = [], [_PAGE]
    for name, section in SECTIONS.items():
        if name in kept:
            figures = kept[name]
            where = f"{figures['machine']['cpu']}; {figures['machine']['versions']}; {figures['date']}."
            parts += [*section(figures["found"]), where, ""]
    if "steps" in kept:
        written.append(_draw_steps(kept["steps"]["found"]))
    if "growth" in kept:
        written.append(_draw_growth(kept["growth"]["found"]))
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    _PAGE.write_text(f"{before}{_BEGIN}\n{chr(10).join(parts)}{_END}{after}")
    return written


def steps(found: dict[str, Any]) -> Iterator[str]:
    """The contestants in float32, and a picture of them."""
    yield "### One step, beside others\n"
    yield "Milliseconds a step, median of the rounds (fastest to slowest round), and the training loss that the contestants"
    yield "agree in (reconstruction + KL in nats per image, mean of the last quarter of the steps that all have made; at d = 500"
    yield "that is one step, the fourth). Then ratios of times: T is a whole epoch (steps, evaluation, pictures, TensorBoard,"
    yield "checkpoint), at d = 500 the steps alone; T / (b) is of epochs run in turns with as many steps of (b), and (a), (d) and"
    yield "(e) / T is their median ratio to (b) in the same rounds, divided by that. Compiled, T is what it is after its first"
    yield "step.\n"
    yield from _contestants(found)
    yield "![Milliseconds a step of each contestant](images/performance_steps.png)\n"
    yield from _limit_and_threads(found)


def steps_bf16(found: dict[str, Any]) -> Iterator[str]:
    """The contestants where their products are of bf16."""
    yield "### One step in bf16\n"
    yield "The same where products are of bf16, on a CPU that has them.\n"
    yield from _contestants(found)
    yield from _limit_and_threads(found)


def _contestants(found: dict[str, Any]) -> Iterator[str]:
    """Their times, the losses, and the ratios."""
    rates = found["rates"]
    yield from table(
        ("d, precision", *_NAMES.values(), "(c) floor", "losses a, b, e, T, T compiled"),
        (
            (
                label(race),
                *(_spread(race["seconds"].get(name)) for name in _NAMES),
                _milliseconds(_floor(race, rates)),
                ", ".join(f"{race['loss'][name]:.1f}" for name in _NAMES if name in race["loss"]),
            )
            for race in found["races"]
        ),
    )
    yield ""
    yield from table(
        ("d, precision", "(a) / T", "(d) / T", "(e) / T", "T / (b)", "T / (c)", "steps of T / (b)", "T, ms a step"),
        (
            (
                label(race) + words,
                *(_number(ratio(race, name, ours)) for name in ("tutorial", "pythae", "lightning")),
                _number(against_hand(race, ours)),
                _number(duration(race, ours) / _floor(race, rates)),
                _number(statistics.median(_paired(race, ours, "hand"))),
                _milliseconds(duration(race, ours)),
            )
            for race in found["races"]
            for ours, words in _OURS.items()
            if ours in race["seconds"]
        ),
    )
    yield ""


def _limit_and_threads(found: dict[str, Any]) -> Iterator[str]:
    rates = found["rates"]
    (rate,) = (rate for name, rate in rates.items() if name != "bandwidth")
    yield "(c) is the step's products at the best rate that products of 2048 x 2048 reached,"
    yield f"{rate / 1e9:.0f} GFLOP/s, and 28 bytes a parameter at {rates['bandwidth'] / 1e9:.0f} GB/s."
    threads = {
        name: threads
        for name in _NAMES
        if (threads := sorted({race["threads"][name] for race in found["races"] if name in race["threads"]}))
    }
    yield f"Threads that were best: {', '.join(f'{name} {_either(found)}' for name, found in threads.items())}."


def techniques(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """What each gives, one at a time."""
    yield "### What each technique gives\n"
    yield "How many times as long a step takes without it, all others kept; a loop by hand, float32, batch 128.\n"
    names = next(iter(found.values()))
    yield from table(
        ("without", *(f"d = {d}" for d in found)),
        ((name, *(_number(ratios[name]) for ratios in found.values())) for name in names),
    )
    yield ""


def sweeps(found: dict[str, Any]) -> Iterator[str]:
    """Throughput and the cost of a job."""
    yield "### Sweeps\n"
    yield "Seconds from the command to its table, a job of one thread on each core; compiled: `train.compile=true`, where"
    yield "the same step has been compiled before; compiling it adds once what its column says.\n"
    rows = []
    for d in ("2", "20"):
        one = found[d]
        rows.append(
            (
                f"{one['jobs']} jobs of {one['epochs']} epochs, d = {d}",
                *(f"{one[what]:.0f}" for what in ("hand loops", "plain", "compiled", "compiling")),
                *(_number(one["hand loops"] / one[what]) for what in ("plain", "compiled")),
            )
        )
    headings = (
        "(b), one after another, start-up not counted",
        "plain",
        "compiled",
        "compiling",
        "(b) / plain",
        "(b) / compiled",
    )
    yield from table(("", *headings), rows)
    yield ""
    yield f"One more job costs {found['one more job']:.2f} s beyond its epochs (jobs of one step on MNIST, one at a time)."


def start_up(found: dict[str, float]) -> Iterator[str]:
    """Seconds until a command answers."""
    yield "### Start-up\n"
    yield "The shortest of five times, for smoke of three.\n"
    yield from table(("", "seconds"), ((name, f"{seconds:.2f}") for name, seconds in found.items()))
    yield ""


def memory(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Peak memory at d = 500."""
    yield "### Memory at d = 500\n"
    yield "Peak of the whole command: two steps of batch 128 in float32, evaluation of all test images and the checkpoint. And"
    parameters = 4 * found["null"]["parameters"] / 1e9
    yield f"the time of a later step, median of three. Parameters are {parameters:.1f} GB, all gradients as much again, Adam's"
    yield "moments twice that.\n"
    yield from table(
        ("train.low_memory", "peak", "a step"),
        ((low_memory, f"{one['peak'] / 1e9:.1f} GB", f"{one['seconds']:.1f} s") for low_memory, one in found.items()),
    )
    yield ""


def growth(found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    """How time and memory grow; the picture says most of it."""
    yield "### How cost grows\n"
    yield "![Time and memory against d, batch size and number of images](images/performance_growth.png)\n"
    yield "Images on disk are memory-mapped (`data=own`; the files had just been written, so the system had them cached); MNIST"
    yield "itself is held in memory. d = 2, batch 128, median of rounds by turns:\n"
    yield from table(
        ("images", "images a second", "memory"),
        (
            (
                "60,000, in memory" if not one["x"] else f"{60_000 * one['x']:,}, on disk",
                f"{128 / one['seconds']:,.0f}",
                f"{one['bytes'] / 1e6:.0f} MB",
            )
            for one in found["images"]
        ),
    )
    yield ""


def compiling(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """What train.compile costs before the first step."""
    yield "### Compiling the step\n"
    yield "Seconds until the first step is done, the start of the program not counted; with `train.compile=true` the first time,"
    yield "and when the same step has been compiled before.\n"
    names = ("plain", "compiled", "compiled before")
    yield from table(("d", *names), ((d, *(f"{ones[name]:.1f}" for name in names)) for d, ones in found.items()))
    yield ""


def dropped(found: dict[str, dict[str, float]]) -> Iterator[str]:
    """Other ways to compute a step."""
    yield "### Tried and dropped\n"
    yield "Milliseconds at batch 128, float32: forward pass and both gradients of a step, plain, as it is; traced into one graph"
    yield "that needs no autograd (make_fx), not compiled; and plain with two images only, which is overhead. torch's"
    yield "fused Adam on the model's tensors, and on one tensor that holds all of them. And the step's products alone, with"
    yield "activations as they are and kept the other way round, (features, batch).\n"
    names = ("plain", "traced", "two images", "Adam", "Adam on one tensor", "products", "features first")
    yield from table(("d", *names), ((d, *(f"{ones[name]:.2f}" for name in names)) for d, ones in found.items()))
    yield ""


def precision(found: list[dict[str, Any]]) -> Iterator[str]:
    """Final losses with float32 and bf16 products, over the seeds."""
    yield "### bf16 beside float32, to the end\n"
    yield "`python -m vaegan.train -m +sweep=precision`: d = 50, batch 2000, BatchNorm, ten epochs; the same seeds. Losses after"
    yield "the tenth epoch in nats per image, mean and standard deviation over seeds; time of all epochs, one run at a time.\n"
    runs = {name: [run for run in found if run["precision"] == name] for name in ("32-true", "bf16-mixed")}
    yield from table(
        ("precision", "seeds", "test loss", "training loss", "seconds"),
        (
            (
                name,
                str(len(ones)),
                *(_mean(ones, what, 2) for what in ("test loss", "training loss")),
                _mean(ones, "seconds", 0),
            )
            for name, ones in runs.items()
        ),
    )
    yield ""
    by_seed = zip(*(sorted(ones, key=lambda run: run["seed"]) for ones in runs.values()), strict=True)
    differences = [bf16["test loss"] - float32["test loss"] for float32, bf16 in by_seed]
    yield f"bf16 minus float32, seed by seed: {', '.join(f'{difference:+.2f}' for difference in differences)} (test loss)."


SECTIONS = {
    "steps": steps,
    "steps_bf16": steps_bf16,
    "techniques": techniques,
    "compiling": compiling,
    "dropped": dropped,
    "sweeps": sweeps,
    "start_up": start_up,
    "memory": memory,
    "growth": growth,
    "precision": precision,
}


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Lines of a Markdown table."""
    heading = list(heading)
    yield f"| {' | '.join(heading)} |"
    yield "|---|" + "--:|" * (len(heading) - 1)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def label(race: dict[str, Any]) -> str:
    return f"{race['plan']['latent_dim']}, {race['plan']['precision']}"


def duration(race: dict[str, Any], ours: str) -> float:
    """Seconds a step of T: of whole epochs, where any were run."""
    epochs = race["epochs"].get(ours)
    times = [epoch["seconds"] / epoch["steps"] for epoch in epochs] if epochs else race["seconds"][ours]
    return statistics.median(times)


def against_hand(race: dict[str, Any], ours: str) -> float:
    """T / (b): epochs beside as many steps of the hand loop, in turns."""
    epochs = race["epochs"]
    if not epochs.get(ours):
        return statistics.median(_paired(race, ours, "hand"))
    return statistics.median(
        one["seconds"] / one["steps"] * STEPS_AN_EPOCH / hand["seconds"]
        for one, hand in zip(epochs[ours], epochs["hand"], strict=True)
    )


def ratio(race: dict[str, Any], name: str, ours: str) -> float | None:
    """Times of `name` / T: against the hand loop in the same rounds, then the hand loop against T's epochs."""
    if name not in race["seconds"]:
        return None
    return statistics.median(_paired(race, name, "hand")) / against_hand(race, ours)


def _paired(race: dict[str, Any], name: str, other: str) -> list[float]:
    return [a / b for a, b in zip(race["seconds"][name], race["seconds"][other], strict=True)]


def _floor(race: dict[str, Any], rates: dict[str, float]) -> float:
    plan = race["plan"]
    return floor(Setting(plan["latent_dim"]), rates[plan["precision"]], rates["bandwidth"])


def _draw_steps(found: dict[str, Any]) -> Path:
    races = found["races"]
    figure, panels = plt.subplots(1, len(races), figsize=(11, 3.4), dpi=110, layout="constrained")
    for panel, race in zip(panels, races, strict=True):
        bars = {name: 1e3 * statistics.median(race["seconds"][name]) for name in _NAMES if name in race["seconds"]}
        panel.bar(range(len(bars)), bars.values(), color=[_COLOURS[name] for name in bars])
        panel.bar_label(
            panel.containers[0], [f"{value:,.{0 if value > 100 else 1}f}" for value in bars.values()], fontsize=8
        )
        limit = 1e3 * _floor(race, found["rates"])
        panel.axhline(limit, color="black", linestyle="--", linewidth=1)
        panel.set_xticks(
            range(len(bars)),
            [name if name != "lightning" else "plain Lightning" for name in bars],
            fontsize=8,
            rotation=40,
            ha="right",
            rotation_mode="anchor",
        )
        panel.set_title(f"d = {race['plan']['latent_dim']}", fontsize=10)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("ms a step, float32, batch 128\n(dashed: the machine's limit)")
    path = _IMAGES / "performance_steps.png"
    figure.savefig(path)
    plt.close(figure)
    return path


def _draw_growth(found: dict[str, list[dict[str, float]]]) -> Path:
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 5.2), dpi=110, layout="constrained", sharex="col", sharey="row")
    columns = (
        ("latent_dim", "d (batch 128)"),
        ("batch_size", "batch size (d = 20)"),
        ("images", "images on disk (d = 2)"),
    )
    for column, (name, title) in enumerate(columns):
        points = [one for one in found[name] if one["x"]]
        x = [one["x"] * (60_000 if name == "images" else 1) for one in points]
        time, memory = panels[:, column]
        time.plot(x, [1e3 * one["seconds"] for one in points], marker="o", color=_COLOURS["vaegan"])
        memory.plot(x, [one["bytes"] / 1e9 for one in points], marker="o", color=_COLOURS["vaegan"])
        time.set(xscale="log", yscale="log")
        memory.set_xlabel(title)
        memory.set_xticks(x, [f"{value:,}" for value in x])
        for panel in (time, memory):
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            panel.minorticks_off()
    panels[0, 0].set(ylabel="ms a step")
    panels[0, 0].yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    panels[0, 0].yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[1, 0].set(
        ylabel="memory, GB", ylim=(0, 1.15 * max(one["bytes"] for kind in found.values() for one in kind) / 1e9)
    )
    path = _IMAGES / "performance_growth.png"
    figure.savefig(path)
    plt.close(figure)
    return path


def _spread(seconds: list[float] | None) -> str:
    if not seconds:
        return ""
    return (
        f"{_milliseconds(statistics.median(seconds))} ({_milliseconds(min(seconds))} to {_milliseconds(max(seconds))})"
    )


def _mean(runs: list[dict[str, Any]], what: str, digits: int) -> str:
    values = [run[what] for run in runs]
    return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{1e3 * seconds:.1f}" if seconds < 0.1 else f"{1e3 * seconds:,.0f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _either(values: list[int]) -> str:
    return " or ".join(map(str, values)) or "none"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
