"""`make bench`, or `python -m benchmarks NAME ...` for some of it: measure, keep the figures, write docs/performance.md anew."""

import json
import os
import sys
from collections.abc import Callable
from datetime import date
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import dropped, floor, measures, race, report
from benchmarks.race import ROOT
from vaegan.training.precision import emulated_bf16

FIGURES = ROOT / "benchmarks" / "figures"  # one JSON file for each of MEASURES, as it was last measured


class NotMeasured(Exception):
    """This machine can't be measured so; what another one gave stays."""


def steps(progress: Progress, precision: str) -> dict[str, Any]:
    """The contestants at every d in one precision, and the machine's limit before and after them."""
    if precision == "bf16-mixed":
        look_for_bf16()
    races, rates = [], {precision: 0.0, "bandwidth": 0.0}

    def look_at_the_machine() -> None:
        rates[precision] = max(rates[precision], floor.product_rate(precision))
        rates["bandwidth"] = max(rates["bandwidth"], floor.bandwidth())

    look_at_the_machine()
    for plan in race.PLANS:
        if plan.precision == precision:
            races.append(race.race(plan, progress))
    for plan in race.ONE_BY_ONE:
        if plan.precision == precision:
            races.append(race.race_one_by_one(plan, progress))
    look_at_the_machine()
    return {"races": races, "rates": rates}


def precision(progress: Progress) -> list[dict[str, Any]]:
    """float32 beside bf16, where the CPU has both."""
    look_for_bf16()
    return measures.precision(progress)


def look_for_bf16() -> None:
    """Raises NotMeasured on a CPU that has no products of bf16."""
    if times := emulated_bf16():
        raise NotMeasured(f"bf16 products take {times:.0f} times as long as float32's on this CPU, which emulates them")


MEASURES: dict[str, Callable[[Progress], Any]] = {
    "steps": lambda progress: steps(progress, "32-true"),
    "steps_bf16": lambda progress: steps(progress, "bf16-mixed"),
    "techniques": measures.techniques,
    "sweeps": lambda progress: {
        "2": measures.sweep(progress, 2),
        "20": measures.sweep(progress, 20),
        "one more job": measures.one_more_job(progress),
    },
    "start_up": measures.start_up,
    "memory": lambda progress: {low: measures.largest(progress, low) for low in ("null", "true", "false")},
    "growth": measures.growth,
    "precision": precision,
    "compiling": measures.compiling,
    "dropped": dropped.dropped,
}


def main() -> None:
    names = sys.argv[1:] or list(MEASURES)
    if unknown := [name for name in names if name not in (*MEASURES, "report")]:
        print(f"{unknown[0]} is not measured; there are: {', '.join(MEASURES)}, and report.", file=sys.stderr)
        sys.exit(2)
    # A comparison on the CPU; and a build of torch for GPUs would look for one in every step of every optimizer.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    FIGURES.mkdir(exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        for name in names:
            if name != "report":
                try:
                    measured = MEASURES[name](progress)
                except NotMeasured as reason:
                    progress.console.print(f"{name} is not measured: {reason}.", markup=False, soft_wrap=True)
                    continue
                found = {"date": date.today().isoformat(), "machine": report.machine(), "found": measured}
                (FIGURES / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
                for line in report.SECTIONS[name](found["found"]):
                    progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    kept = {path.stem: json.loads(path.read_text()) for path in FIGURES.glob("*.json")}
    for path in report.write(kept):
        print(f"written     {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
