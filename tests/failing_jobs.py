"""`python failing_jobs.py -m ...`: the train command with jobs that fail by their seed, each in its own way, but only while
the file "mend" does not exist. And what a process of several does. Not a test; tests run it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from vaegan import cli, train
from vaegan.runs import Plan, RunFolder


def job(composition: cli.Composition) -> None:
    seed = composition.values["seed"]
    if Path("mend").exists():
        train.job(composition)
    elif seed == 1:
        raise RuntimeError("raised by the test")
    elif seed == 2:
        sys.exit(0)
    elif seed == 3:
        threading.Thread(target=_die_after_first_epoch, args=(composition.run_folder,), daemon=True).start()
        train.job(composition)
    elif seed == 4:
        os._exit(0)
    else:
        train.job(composition)


def write_precision(plan: Plan, group: object) -> None:
    """What a process of a run on several devices was told to compute in."""
    (plan.folder.path / f"precision{group.rank}").write_text(plan.config.trainer.precision)


def _die_after_first_epoch(path: Path) -> None:
    while not RunFolder(path).read_status().get("epoch"):
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    from failing_jobs import job as importable_job

    cli.run_command(importable_job, "config")
