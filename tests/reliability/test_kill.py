"""SIGKILL at any moment: while a checkpoint is written, renamed, or the step is computed."""

import os
import random
import subprocess
import sys
import time

from runs_compared import assert_same_training
from sweep_command import wait_for

from vaegan.errors import UserError
from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint

RUN = [
    "data=digits",
    "data.batch_size=100",
    "trainer.accelerator=cpu",
    "logger.tensorboard=false",
    "model.latent_dim=20",
]
RUN += ["logger.images_every_n_epochs=1000", "data.num_val=300", "trainer.max_epochs=1000"]
STEPS_PER_EPOCH = 12


def test_kill_9_at_random_moments(run_digits, scenario, trials, tmp_path, other_file_system):
    """One run, killed and gone on with again and again; at the end it is the run that was never killed."""
    environment = os.environ | {"TMPDIR": str(other_file_system)}
    run = RunFolder(tmp_path / "run")
    moments = random.Random(0)
    kills = trials(2, 100)
    with scenario("2 Kill -9: last.ckpt loads, at most one epoch is lost, nothing stale stays") as t:
        while t.trials < kills:
            arguments = [f"train.resume={run}"] if run.config.exists() else [*RUN, f"hydra.run.dir={run}"]
            command = [sys.executable, "-m", "vaegan.train", *arguments]
            with subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            ) as process:
                started_from = step_of(run)
                wait_for(lambda: process.poll() is not None or step_of(run) > started_from)  # noqa: B023
                assert process.poll() is None, process.stderr.read()
                time.sleep(moments.uniform(0, 0.3))
                process.kill()
            trained = len(run.read_metrics()) if run.metrics.exists() else 0
            try:
                kept = load_checkpoint(run.last)["global_step"] // STEPS_PER_EPOCH
                t.trial(
                    trained - kept <= 1 and kept >= started_from // STEPS_PER_EPOCH, f"{trained} epochs, {kept} kept"
                )
                load_checkpoint(run.best)
            except UserError as error:
                t.trial(False, error)
        left = sum(1 for _ in run.path.rglob("*.part"))
    with scenario("2 Kill -9: the run killed so often ends as one never killed") as t:
        epochs = len(run.read_metrics()) + 1
        goes_on = [sys.executable, "-m", "vaegan.train", f"train.resume={run}", f"trainer.max_epochs={epochs}"]
        subprocess.run(goes_on, env=environment, check=True, capture_output=True)
        whole = run_digits(*RUN, f"trainer.max_epochs={epochs}", folder="whole")
        assert_same_training(whole, run)
        others = [path for path in other_file_system.iterdir() if not path.name.startswith("torchinductor")]
        stale = [*run.path.rglob("*.part"), *others]
        t.trial(not stale, stale)
        t.note(f"{epochs} epochs, {left} half-written file after the last kill")


def step_of(run: RunFolder) -> int:
    return run.read_status().get("step") or 0
