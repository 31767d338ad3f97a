"""What a person sees while a sweep goes on: what is done, what is running, what failed, how long it will take."""

import sys
import threading
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vaegan.runs import ENDED
from vaegan.sweeping.jobs import Job

_SECONDS_BETWEEN_LOOKS = 1.0


class Progress:
    """Watches the jobs' status files from a thread, whichever launcher runs them and wherever.

    On a terminal it draws a bar and a line for each running job; elsewhere it prints a line when a job ends.
    """

    def __init__(self, jobs: list[Job], console: Console | None = None):
        self.jobs = jobs
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._started = time.monotonic()
        self._cost = sum(job.cost for job in jobs)
        self._cost_before = sum(self._done(job.folder.read_status()) * job.cost for job in jobs)
        self._written_before = {job.name: _when_written(job) for job in jobs}
        self._ended: dict[str, str] = {}  # {job: state}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        if self.console.is_terminal:
            self._live.stop()

    def line(self, text: str) -> None:
        """Print one line (above the bar, if there is one)."""
        self.console.print(text, markup=False)
        sys.stdout.flush()

    def _watch(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_LOOKS):
            self._look()

    def _look(self) -> None:
        statuses = {job.name: job.folder.read_status() for job in self.jobs}
        for job in self.jobs:
            state = statuses[job.name].get("state")
            is_new = _when_written(job) != self._written_before[job.name]  # not what an earlier start left
            if state in ENDED and is_new and job.name not in self._ended:
                self._ended[job.name] = state
                self.line(f"{self._counts(statuses)}  {result_line(job)}")
        if self.console.is_terminal:
            self._live.update(self._drawn(statuses), refresh=True)

    def _counts(self, statuses: dict[str, dict]) -> str:
        width = len(str(len(self.jobs)))
        return f"[{len(self._ended):>{width}}/{len(self.jobs)}, {self._time_left(statuses)}]"

    def _time_left(self, statuses: dict[str, dict]) -> str:
        done = sum(job.cost * self._done(statuses[job.name]) for job in self.jobs)
        given_up = sum(job.cost for job in self.jobs if self._ended.get(job.name) not in (None, "finished"))
        gained = done - self._cost_before
        left = max(self._cost - done - given_up, 0)
        if gained <= 0:
            return "time left unknown"
        return f"about {duration((time.monotonic() - self._started) * left / gained)} left"

    @staticmethod
    def _done(status: dict) -> float:
        """The part of its epochs that a job has done; all, if it is finished sooner (trainer.max_steps)."""
        if status.get("state") == "finished":
            return 1.0
        return status["epoch"] / status["max_epochs"] if status.get("max_epochs") else 0.0

    def _drawn(self, statuses: dict[str, dict]) -> Group:
        running = [job for job in self.jobs if statuses[job.name].get("state") == "running"]
        failed = sum(state != "finished" for state in self._ended.values())
        table = Table.grid(padding=(0, 2))
        table.add_row(
            ProgressBar(
                total=self._cost,
                completed=sum(job.cost * self._done(statuses[job.name]) for job in self.jobs),
                width=30,
            ),
            f"{len(self._ended)} of {len(self.jobs)} jobs, {len(running)} running, {failed} failed, "
            f"{self._time_left(statuses)}",
        )
        lines = [
            Text(f"  {job.name}: epoch {statuses[job.name]['epoch']} of {statuses[job.name]['max_epochs']}")
            for job in running
        ]
        return Group(table, *lines)


def _when_written(job: Job) -> int | None:
    try:
        return job.folder.status.stat().st_mtime_ns
    except OSError:
        return None


def result_line(job: Job) -> str:
    """ "denoise_bn-seed0  finished, test loss 123.3, 5 min 20 s", or why not."""
    state, status = job.folder.state, job.folder.read_status()
    if state != "finished":
        return f"{job.name}  {state}: {job.folder.problem or 'no reason is known'}"
    loss = status["metrics"].get("test/loss")
    return (
        f"{job.name}  finished"
        + (f", test loss {loss:.1f}" if loss is not None else "")
        + f", {duration(sum(status['epoch_seconds']))}"
    )


def duration(seconds: float) -> str:
    """ "8 s", "5 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
