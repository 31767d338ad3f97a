"""Many runs in one process leave nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc, os, sys, threading
import psutil
from pathlib import Path
from conftest import SMALL, make_plan
from vaegan.train import train

here, runs, warm_up = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
process = psutil.Process()
sys.stdout = open(os.devnull, "w")
for number in range(warm_up + runs):
    tensorboard = f"logger.tensorboard={number % 2 == 0}"
    train(make_plan(here / f"run{number}", *SMALL, "model.latent_dim=8", tensorboard, "trainer.max_epochs=1"))
    gc.collect()
    if number == warm_up - 1:
        before = process.memory_info().rss, process.num_fds(), threading.active_count()
after = process.memory_info().rss, process.num_fds(), threading.active_count()
print(*before, *after, file=sys.stderr)
"""


@pytest.mark.skipif(os.name != "posix", reason="counts open files as POSIX does")
def test_memory_files_and_threads_do_not_grow(scenario, trials, tmp_path):
    runs, warm_up = trials(4, 50), trials(3, 10)
    with scenario(f"12 Soak: {runs} runs in one process, memory grows less than 5 %, no files or threads left") as t:
        path = os.pathsep.join([str(Path(__file__).parents[1]), str(Path.cwd())])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path, str(runs), str(warm_up)],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        memory, files, threads, memory_after, files_after, threads_after = map(
            int, done.stderr.splitlines()[-1].split()
        )
        growth = memory_after / memory - 1
        t.trial(growth < 0.05, f"memory {memory} -> {memory_after}")
        t.trial(files_after <= files, f"open files {files} -> {files_after}")
        t.trial(threads_after <= threads, f"threads {threads} -> {threads_after}")
        t.note(f"{runs} runs, memory {growth:+.1%}")
