"""One run on several devices: two processes on a CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from runs_compared import assert_same_training, state
from sweep_command import SMALL, sweep, wait_for

from vaegan.runs import RunFolder

RUN = ["data=digits", "data.batch_size=100", "model.latent_dim=4", "trainer.accelerator=cpu", "data.noise_std=0.3"]
RUN += ["objective.fakes=both", "trainer.max_epochs=2", "logger.images_every_n_epochs=99"]


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "vaegan.train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_two_processes_compute_what_one_does_and_say_it_once(batch_norm, scenario, tmp_path):
    with scenario("13 Two processes: the losses of one, within rounding") as t:
        options = [*RUN, f"model.batch_norm={batch_norm}"]
        done = {}
        for devices in (1, 2):
            folder = RunFolder(tmp_path / f"{devices}")
            done[devices] = train(*options, f"trainer.devices={devices}", f"hydra.run.dir={folder}", cwd=tmp_path)
            assert done[devices].returncode == 0, done[devices].stderr
        one, two = RunFolder(tmp_path / "1"), RunFolder(tmp_path / "2")
        for ours, theirs in zip(two.read_metrics(), one.read_metrics(), strict=True):
            for name, value in theirs.items():
                # The biases before a BatchNorm have a gradient of 0 but for rounding, of which Adam makes steps; training
                # does not see them, but the running means of an evaluation do.
                sees_biases = batch_norm and name.startswith("test/")
                if sees_biases and name not in ("test/loss", "test/reconstruction"):
                    continue
                tolerance = 2e-3 if sees_biases else 2e-4
                t.trial(ours[name] == pytest.approx(value, rel=tolerance), f"{name}: {ours[name]} and {value}")
        lines = [[line.split()[0] for line in done[devices].stdout.splitlines() if line.strip()] for devices in (1, 2)]
        t.trial(lines[0] == lines[1] and done[2].stderr == "", f"printed {done[2].stdout} {done[2].stderr}")
        events = [len(list(folder.tensorboard.rglob("events*"))) for folder in (one, two)]
        t.trial(events[0] == events[1], f"{events} event files")


def test_two_processes_stop_and_go_on_exactly(scenario, tmp_path):
    with scenario("13 Two processes: stopped by SIGTERM inside an epoch, exact resume") as t:
        options = [*RUN, "trainer.devices=2", "trainer.max_epochs=6"]
        whole, part = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "part")
        assert train(*options, f"hydra.run.dir={whole}", cwd=tmp_path).returncode == 0
        command = [sys.executable, "-m", "vaegan.train", *options, f"hydra.run.dir={part}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_for(lambda: part.read_status().get("epoch"))
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
        t.trial(process.returncode == 143 and errors == "", f"{process.returncode} {errors}")
        assert part.read_status()["state"] == "interrupted"
        assert 0 < part.read_status()["step"] < 90
        done = train(f"train.resume={part}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert_same_training(whole, part)
        t.trial(True)
        assert train(f"train.resume={part}", "trainer.devices=1", "trainer.max_epochs=7", cwd=tmp_path).returncode == 0
        t.trial(len(part.read_metrics()) == 7, "it goes on with one process")


def test_the_death_of_one_process_ends_the_run_and_leaves_none_behind(scenario, trials, tmp_path):
    with scenario("13 Two processes: one is killed, none is left, one sentence") as t:
        for trial in range(trials(1, 6)):
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
