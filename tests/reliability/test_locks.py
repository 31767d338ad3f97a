"""Two runs, one folder."""

import signal
import subprocess
import sys
from pathlib import Path

from sweep_command import wait_for

from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint

RUN = ["data=digits", "trainer.accelerator=cpu", "logger.tensorboard=false", "model.latent_dim=4"]
RUN += ["logger.images_every_n_epochs=1000", "trainer.max_epochs=1000"]
TRAIN = [sys.executable, "-m", "vaegan.train"]


def test_the_second_run_is_refused_while_the_first_lives_and_not_after(scenario, trials, tmp_path):
    run = RunFolder(tmp_path / "run")
    arguments = [*RUN, f"hydra.run.dir={run}"]
    with scenario("7 Two runs, one folder: the second is refused, the first undisturbed") as t:
        for trial in range(trials(1, 20)):
            with subprocess.Popen([*TRAIN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as first:
                before = run.read_status().get("step", 0)
                wait_for(lambda: run.read_status().get("step", 0) > before)  # noqa: B023
                # By the same command, and by going on with it.
                for second in ([*RUN, f"hydra.run.dir={run}"], [f"train.resume={run}"]):
                    done = refused(second, tmp_path)
                    said = done.stderr.splitlines()
                    one = done.returncode == 2 and len(said) == 1 and "is in use by another run" in said[0]
                    t.trial(one, f"{done.returncode} {done.stderr}")
                assert first.poll() is None, first.stderr.read()
                first.send_signal(signal.SIGKILL if trial % 2 == 0 else signal.SIGTERM)
            load_checkpoint(run.last)
            arguments = [f"train.resume={run}"]  # the lock of the dead run is there, and does not block
            assert (run.path / ".lock").exists()


def test_of_many_that_start_at_once_one_runs(scenario, long_only, tmp_path):
    with scenario("7 Two runs, one folder: of several that start at once, one runs") as t:
        for trial in range(5):
            arguments = [*RUN, "trainer.max_epochs=3", f"hydra.run.dir={tmp_path / str(trial)}"]
            started = [
                subprocess.Popen([*TRAIN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                for _ in range(4)
            ]
            errors = [process.communicate(timeout=120)[1] for process in started]
            codes = sorted(process.returncode for process in started)
            sentences = ("in use by another run", "already holds a run")
            t.trial(
                codes == [0] + [2] * (len(codes) - 1)
                and all(any(s in error for s in sentences) for error in errors if error),
                f"{codes} {errors}",
            )


def refused(arguments: list[str], cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([*TRAIN, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)
