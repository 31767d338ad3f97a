"""Starting sweeps as a person does, for the tests."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SMALL = [
    "data=digits",
    "model.latent_dim=4",
    "trainer.max_epochs=2",
    "trainer.accelerator=cpu",
    "logger.tensorboard=false",
]


def sweep(*arguments: str, cwd: Path, script: bool = False, timeout: int = 240) -> subprocess.CompletedProcess:
    command = [str(HERE / "failing_jobs.py")] if script else ["-m", "vaegan.train"]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *command, "-m", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def table(output: str) -> dict[str, str]:
    """{job: state} of the table at the end."""
    lines = output[output.index("\njob ") :].splitlines()[2:]
    rows = [re.match(r"(\S+)  +(finished|failed|interrupted|not run|waiting)", line) for line in lines]
    return {row[1]: row[2] for row in rows if row}


@contextmanager
def started(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen]:
    """A sweep that is still at work, killed when the block ends."""
    command = [sys.executable, "-m", "vaegan.train", "-m", *SMALL, *arguments]
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background shell ignores it
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
