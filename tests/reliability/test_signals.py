"""SIGTERM and Ctrl-C, as a cluster or a person sends them."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from runs_compared import assert_same_training
from sweep_command import SMALL, started, table, wait_for

from vaegan.runs import RunFolder

TRAIN = [sys.executable, "-m", "vaegan.train"]
RUN = [
    "data=digits",
    "data.batch_size=50",
    "trainer.max_epochs=8",
    "trainer.accelerator=cpu",
    "logger.tensorboard=false",
]
RUN += ["model.latent_dim=20", "logger.images_every_n_epochs=99", "data.noise_std=0.5", "objective.fakes=both"]


def start(cwd: Path, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*TRAIN, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background shell ignores it
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment_leaves_a_run_that_goes_on_exactly(number, run_digits, scenario, trials, tmp_path):
    if number == signal.SIGINT and trials(0, 1) == 0:
        pytest.skip("only in make test-reliability; test_resume.py sends both")
    code = 128 + number
    with scenario(f"4 Signals: {number.name} at a random moment, exit code {code}, exact resume") as t:
        whole = run_digits(*RUN, folder="whole")
        moments = random.Random(number)
        for trial in range(trials(1, 20)):
            part = RunFolder(tmp_path / f"part{trial}")
            with start(tmp_path, *RUN, f"hydra.run.dir={part}") as process:
                wait_for(lambda: part.status.exists())  # noqa: B023
                time.sleep(moments.uniform(0, 2))
                process.send_signal(number)
                printed, errors = process.communicate(timeout=120)
            assert process.returncode in (code, 0), errors  # 0: it was done already
            assert "Traceback" not in errors
            if process.returncode == code:
                assert part.read_status()["state"] == "interrupted"
                assert "go on with: python -m vaegan.train train.resume=" in printed
                run_digits(f"train.resume={part}")
            try:
                assert_same_training(whole, part)
                t.trial(True)
            except AssertionError as error:
                t.trial(False, error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_first_step_leaves_nothing(number, scenario, trials, tmp_path):
    """While torch is being imported, the memory is looked at and the images are read."""
    with scenario("4 Signals: before the first step, nothing is left") as t:
        moments = random.Random(number)
        for _ in range(trials(1, 10)):
            with start(tmp_path, *RUN) as process:
                wait_for(lambda: (tmp_path / "outputs").exists())
                time.sleep(moments.uniform(0, 1))
                process.send_signal(number)
                _, errors = process.communicate(timeout=60)
            begun = list(tmp_path.glob("outputs/default/*/config.yaml"))
            if begun:
                continue  # it was faster
            t.trial(
                process.returncode in (128 + number, -number)  # Python may die of SIGINT itself, which shells call 130
                and not (tmp_path / "outputs").exists()
                and "Traceback" not in errors,
                f"{process.returncode}, {errors}, {list(tmp_path.rglob('*'))}",
            )


def test_a_large_model_stops_within_five_seconds(scenario, long_only, tmp_path):
    """d = 100 as in the paper, batches of 1,000: 300 MB of checkpoint."""
    run = [*RUN, "model.latent_dim=100", "data.batch_size=1000", "trainer.max_epochs=1000"]
    with scenario("4 Signals: d = 100, the checkpoint is there within 5 s") as t:
        seconds = []
        for trial in range(10):
            folder = RunFolder(tmp_path / f"run{trial}")
            with start(tmp_path, *run, f"hydra.run.dir={folder}") as process:
                wait_for(lambda: folder.read_status().get("epoch"))  # noqa: B023
                time.sleep(random.Random(trial).uniform(0, 3))
                sent = time.time()
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=120)
            seconds.append(folder.last.stat().st_mtime - sent)
            t.trial(process.returncode == 143 and seconds[-1] < 5, f"{process.returncode} after {seconds[-1]:.1f} s")
        t.note(f"longest {max(seconds):.1f} s")


def test_the_other_jobs_of_a_sweep_go_on(scenario, trials, tmp_path):
    with scenario("4 Signals: SIGTERM of one job of a sweep, the others finish") as t:
        for trial in range(trials(1, 3)):
            jobs = [*SMALL, "seed=0,1,2", "trainer.max_epochs=15", f"hydra.sweep.dir={tmp_path / f'sweep{trial}'}"]
            first = RunFolder(tmp_path / f"sweep{trial}" / "seed0")
            with started(tmp_path, *jobs) as sweep:
                wait_for(lambda: first.read_status().get("epoch"))  # noqa: B023
                os.kill(first.read_status()["pid"], signal.SIGTERM)
                printed, _ = sweep.communicate(timeout=240)
            states = table(printed)
            t.trial(
                sweep.returncode == 1
                and states == {"seed0": "interrupted", "seed1": "finished", "seed2": "finished"}
                and first.read_status()["step"] > 0,
                f"{sweep.returncode} {states}",
            )
            assert not [
                p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or [])
            ]
