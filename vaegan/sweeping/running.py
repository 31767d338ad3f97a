"""A sweep from its first job to its table: what is not finished is run, whatever happens to a job happens to it alone."""

import os
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe, connection
from pathlib import Path

from vaegan.runs import in_use
from vaegan.sweeping.jobs import Job, write_down
from vaegan.sweeping.processes import Process, import_ahead, start
from vaegan.sweeping.progress import Progress, duration

_SECONDS_TO_STOP = 15
Run = Callable[[list[Job]], None]


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a sweep as Ctrl-C does."""


def run_sweep(jobs: list[Job], folder: Path, run: Run) -> int:
    """Run those of `jobs` that are not finished; the exit code: 0 if all are finished then, else 1 (130, 143: stopped).

    Args:
        jobs: as jobs.lay_out made them.
        folder: the sweep's.
        run: runs the jobs it is given and returns when all have ended.

    Raises:
        UserError: another sweep is at work in the folder.
    """
    with in_use(folder), _sigterm_like_ctrl_c():
        write_down(jobs, folder)
        states = {job.name: job.folder.state for job in jobs}
        unfinished = [job for job in jobs if states[job.name] not in ("finished", "running")]
        begun = sum(job.folder.last.exists() for job in unfinished)
        done, elsewhere = (list(states.values()).count(state) for state in ("finished", "running"))
        print(
            f"sweep       {len(jobs)} jobs in {folder}: {done} finished already, {len(unfinished)} to run"
            + (f", {begun} of them from their last checkpoint" if begun else "")
            + (f"; {elsewhere} are being run by another process" if elsewhere else ""),
            flush=True,
        )
        stopped_by: type[BaseException] | None = None
        if unfinished:
            with Progress(unfinished) as progress:
                try:
                    run(unfinished)
                except KeyboardInterrupt as stop:
                    stopped_by = type(stop)
                except Exception as error:  # of a launcher: what it did not run is seen in the folders
                    progress.line(f"the launcher stopped ({type(error).__name__}: {error})")
        if stopped_by is not None:
            _note_torn_down(unfinished)
        finished = _report(jobs, folder, stopped_by is not None)
    if stopped_by is not None:
        return 128 + (signal.SIGTERM if stopped_by is Terminated else signal.SIGINT)
    return 0 if finished else 1


def run_here(job: str, jobs_at_once: int | None) -> Run:
    """Runs jobs on this machine, each in its own process; Ctrl-C or SIGTERM stops them all, writing what they have.

    Args:
        job: "module:function" of what is done for a job.
        jobs_at_once: None for as many small jobs as there are cores, with one thread each, and other jobs one at a time with
            all of them (on a GPU, all jobs one at a time).
    """

    def run(jobs: list[Job]) -> None:
        import_ahead(any(job.config.train.compile for job in jobs))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        slots = _Slots(cores, jobs_at_once, jobs)
        waiting, running = deque(jobs), {}
        try:
            while waiting or running:
                while waiting and slots.fit(waiting[0], [job for job, _ in running.values()]):
                    next_job = waiting.popleft()
                    try:
                        process = Process(job, next_job.composition, slots.threads(next_job))
                    except OSError as error:  # its folder cannot be used; the others' may
                        print(f"{next_job.name} cannot be started: {error}", flush=True)
                    else:
                        running[process.sentinel] = next_job, process
                for sentinel in connection.wait(list(running)):
                    running.pop(sentinel)[1].conclude()
        except BaseException as stop:
            _stop([process for _, process in running.values()], stop)
            raise

    return run


class _Slots:
    """How many jobs at once, with how many threads each."""

    def __init__(self, cores: int, jobs_at_once: int | None, jobs: list[Job]):
        self.cores = cores
        self.jobs_at_once = jobs_at_once
        self.parallel = jobs_at_once is None and cores > 1 and sum(job.is_small for job in jobs) > 1 and _is_cpu(jobs)

    def fit(self, job: Job, running: list[Job]) -> bool:
        if self.jobs_at_once is not None:
            return len(running) < self.jobs_at_once
        if self.parallel and job.is_small:
            return all(other.is_small for other in running) and len(running) < self.cores
        return not running

    def threads(self, job: Job) -> int | None:
        if self.jobs_at_once is not None:
            return max(1, self.cores // self.jobs_at_once)
        return 1 if self.parallel and job.is_small else None


def _is_cpu(jobs: list[Job]) -> bool:
    """Will the jobs compute on the CPU? Asked of a process that may import torch."""
    accelerators = {job.config.trainer.accelerator for job in jobs}
    if accelerators == {"cpu"}:
        return True
    if "auto" not in accelerators:
        return False
    ours, theirs = Pipe(duplex=False)
    process = start(_say_device, theirs)
    theirs.close()
    try:
        return ours.recv() == "cpu"
    except EOFError:  # it died: then no job will get far, and each will say why
        return False
    finally:
        process.join()


def _say_device(answer: connection.Connection) -> None:
    from vaegan.training.device import find_device

    answer.send(find_device("auto").type)


def _stop(processes: list[Process], stop: BaseException) -> None:
    """Let the running jobs write what they have; a second Ctrl-C kills them."""
    print(f"stopping: {len(processes)} running jobs finish writing (Ctrl-C again kills them)", flush=True)
    try:
        for process in processes:
            process.tell(stop)
        for process in processes:
            process.conclude(stopped=True)
    except KeyboardInterrupt:
        for process in processes:
            process.send(signal.SIGKILL)
            process.conclude(stopped=True)


def _note_torn_down(jobs: list[Job]) -> None:
    """A launcher may kill its own processes (joblib's does). The jobs notice, and stop; here that is waited for."""
    deadline = time.monotonic() + _SECONDS_TO_STOP
    for job in jobs:
        while job.folder.state == "running" and time.monotonic() < deadline:
            time.sleep(0.1)
        status = job.folder.read_status()
        if status.get("state") == "running" and job.folder.state != "running":
            job.folder.write_status(status | {"state": "interrupted", "error": "stopped with the sweep"})


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _report(jobs: list[Job], folder: Path, stopped: bool) -> bool:
    """Print the table of all jobs and what to do next; are all finished?"""
    unfinished = [job for job in jobs if job.folder.state != "finished"]
    rows = [("job", "state", "epochs", "test loss", "time", "")]
    for job in jobs:
        status = job.folder.read_status()
        loss = status.get("metrics", {}).get("test/loss")
        seconds = sum(status.get("epoch_seconds", []))
        rows.append(
            (
                job.name,
                job.folder.state,
                f"{status.get('epoch', 0)}/{job.config.trainer.max_epochs}",
                f"{loss:.1f}" if loss is not None else "",
                duration(seconds) if seconds else "",
                job.folder.problem or "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    print()
    for row in rows:
        cells = [
            cell.rjust(width) if column in (2, 3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        print("  ".join([*cells, row[5]]).rstrip())
    print(
        f"\n{len(jobs) - len(unfinished)} of {len(jobs)} jobs finished"
        + (", test loss in nats per image" if len(jobs) > len(unfinished) else "")
    )
    if unfinished:
        failed = next((job for job in unfinished if job.folder.state == "failed"), None)
        if failed:
            print(f"why         {shlex.quote(str(failed.folder))}/output.log, status.json")
        print(f"{'go on' if stopped else 'the rest':<12}python -m vaegan.train {shlex.join(sys.argv[1:])}")
    print(f"report      python -m vaegan.report {shlex.quote(str(folder))}", flush=True)
    return not unfinished
