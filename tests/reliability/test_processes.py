"""One run on several devices: two processes on a CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from conftest import make_plan
from failing_jobs import write_precision
from runs_compared import assert_same_training, state
from sweep_command import SMALL, sweep, wait_for

from vaegan.runs import RunFolder
from vaegan.training.processes import run_in_processes

RUN = ["data=digits", "data.batch_size=100", "model.latent_dim=4", "trainer.accelerator=cpu", "data.noise_std=0.3"]
RUN += ["objective.fakes=both", "trainer.max_epochs=2", "logger.images_every_n_epochs=99"]


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vaegan.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


def test_two_processes_compute_what_one_does_say_it_once_and_go_on_exactly(run_digits, scenario, trials, tmp_path):
    for batch_norm in (True, False)[: trials(1, 2)]:
        options = [*RUN, f"model.batch_norm={batch_norm}"]
        one = run_digits(*options, folder=f"one {batch_norm}")
        two, part = RunFolder(tmp_path / f"two {batch_norm}"), RunFolder(tmp_path / f"part {batch_norm}")
        options += ["trainer.devices=2", f"train.low_memory={batch_norm}"]
        done = train(*options, f"hydra.run.dir='{two}'", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        with scenario("13 Two processes: the losses of one, within rounding, said once") as t:
            for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
                for name, value in theirs.items():
                    # The biases before a BatchNorm have a gradient of 0 but for rounding, of which Adam makes steps; training
                    # does not see them, but the running means of an evaluation do.
                    sees_biases = batch_norm and name.startswith("test/")
                    if sees_biases and name not in ("test/loss", "test/reconstruction"):
                        continue
                    tolerance = 2e-3 if sees_biases else 2e-4
                    t.trial(ours[name] == pytest.approx(value, rel=tolerance), f"{name}: {ours[name]} and {value}")
            epochs = [line for line in done.stdout.splitlines() if line.strip().startswith(("1/", "2/"))]
            t.trial(len(epochs) == 2 and done.stderr == "", f"printed {done.stdout} {done.stderr}")
            t.trial(
                len(list(two.tensorboard.rglob("events*"))) == len(list(one.tensorboard.rglob("events*"))), "events"
            )
        with scenario("13 Two processes: stopped by SIGTERM inside an epoch, exact resume") as t:
            command = [sys.executable, "-m", "vaegan.train", *options, f"hydra.run.dir='{part}'"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                wait_for(lambda: part.status.exists())  # noqa: B023
                process.send_signal(signal.SIGTERM)
                _, errors = process.communicate(timeout=60)
            t.trial(process.returncode == 143 and errors == "", f"{process.returncode} {errors}")
            status = part.read_status()
            t.trial(status["state"] == "interrupted" and 0 < status["step"] < 30, status)
            done = train(f"train.resume='{part}'", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert_same_training(two, part)
            run_digits(
                f"train.resume='{part}'", "trainer.devices=1", "trainer.max_epochs=3", folder=f"part {batch_norm}"
            )
            t.trial(len(part.read_metrics()) == 3, "it goes on with one process")


def test_the_death_of_one_process_ends_the_run_and_leaves_none_behind(scenario, long_only, tmp_path):
    with scenario("13 Two processes: one is killed, none is left, one sentence") as t:
        for trial in range(6):
            run = RunFolder(tmp_path / f"run{trial}")
            options = [*RUN, "trainer.devices=2", "trainer.max_epochs=1000", f"hydra.run.dir={run}"]
            command = [sys.executable, "-m", "vaegan.train", *options]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                wait_for(lambda: run.read_status().get("epoch"))  # noqa: B023
                first = run.read_status()["pid"]
                workers = [
                    p.pid for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())
                ]
                second = next(pid for pid in workers if pid != first)
                os.kill(process.pid if trial % 3 == 2 else second if trial % 3 == 0 else first, signal.SIGKILL)
                _, errors = process.communicate(timeout=60)
            if trial % 3 != 2:
                said = errors.splitlines()[-1]
                sentence = f"the process of device {1 - trial % 3} was killed by SIGKILL; go on with"
                t.trial(process.returncode == 2 and sentence in said, f"{process.returncode} {errors}")
            wait_for(lambda: not any(psutil.pid_exists(pid) and is_alive(pid) for pid in workers), 30)  # noqa: B023
            t.trial(run.state == "failed", run.state)
            done = train(f"train.resume={run}", f"trainer.max_epochs={len(run.read_metrics()) + 1}", cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            assert state(run)["epoch"] > 0


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_the_processes_do_not_each_choose_a_precision(tmp_path):
    plan = make_plan(tmp_path / "run", *RUN, "trainer.devices=2", "trainer.precision=auto")
    plan.folder.path.mkdir()
    run_in_processes(write_precision, plan)
    told = {path.read_text() for path in plan.folder.path.glob("precision*")}
    assert len(told) == 1 and told <= {"32-true", "bf16-mixed"}


def test_several_devices_are_refused_in_a_sweep_and_where_they_are_not_there(tmp_path):
    done = sweep(*SMALL, "trainer.devices=2", "seed=0,1", cwd=tmp_path)
    assert done.returncode == 2
    assert "trainer.devices is 2, but the jobs of a sweep share this machine's devices" in done.stderr
    done = train(*RUN, "trainer.devices=3", cwd=tmp_path)
    assert "data.batch_size is 100, which trainer.devices=3 cannot share evenly" in done.stderr
    done = train(*RUN, "trainer.devices=50", "trainer.accelerator=gpu", cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "trainer.accelerator=gpu is not there" in done.stderr or "trainer.devices is 50, but" in done.stderr
    assert not (tmp_path / "outputs").exists()
