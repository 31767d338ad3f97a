"""Training n epochs, and training, being stopped and going on, give bitwise the same."""

import itertools
import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from runs_compared import assert_same_training

from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint
from vaegan.training.module import VAEGANModule

EPOCHS = 3
STEPS = 15 * EPOCHS  # 1,500 digits in batches of 100
BASE = (f"trainer.max_epochs={EPOCHS}", "logger.tensorboard=false", "logger.images_every_n_epochs=99")
SETTINGS = list(itertools.product((True, False), (0.0, 0.5), ("prior", "reconstruction", "both")))


def options(batch_norm: bool, noise_std: float, fakes: str) -> tuple[str, ...]:
    schedule = ("optimizer.schedule=step", "optimizer.step_size=1", "model.dropout=0.1")
    return (
        *BASE,
        f"model.batch_norm={batch_norm}",
        f"data.noise_std={noise_std}",
        f"objective.fakes={fakes}",
        *schedule,
    )


@pytest.fixture
def stopped_at(run_digits, monkeypatch):
    """Trains, and is sent SIGTERM while it computes the step."""
    take_step = VAEGANModule.training_step

    def stopped(step: int, *overrides: str, folder: str, number: signal.Signals = signal.SIGTERM) -> None:
        def training_step(self, batch, batch_idx):
            take_step(self, batch, batch_idx)
            if self.trainer.global_step == step:
                os.kill(os.getpid(), number)

        with monkeypatch.context() as patched:
            patched.setattr(VAEGANModule, "training_step", training_step)
            with pytest.raises(SystemExit) as stop:
                run_digits(*overrides, folder=folder)
        assert stop.value.code == 128 + number

    return stopped


def test_going_on_inside_an_epoch_is_exact(run_digits, stopped_at, scenario, trials, tmp_path):
    with scenario("1 Exact resume: stopped inside an epoch") as t:
        for number, setting in enumerate(SETTINGS[:: trials(5, 1)]):
            overrides = options(*setting)
            whole = run_digits(*overrides, folder=f"whole{number}")
            steps = random.Random(number).sample([step for step in range(1, STEPS) if step % 15], trials(1, 8))
            for step in steps:
                name = f"part{number}-{step}"
                stopped_at(step, *overrides, folder=name)
                part = RunFolder(tmp_path / name)
                assert part.read_status()["step"] == step
                torch.manual_seed(step)  # whatever happened before
                run_digits(f"train.resume={part}")
                t.trial(*same(whole, part, f"{setting}, step {step}"))


def test_going_on_after_an_epoch_is_exact(run_digits, stopped_at, scenario, trials, tmp_path):
    with scenario("1 Exact resume: stopped after an epoch") as t:
        for number, setting in enumerate(SETTINGS[:: trials(12, 1)]):
            overrides = options(*setting)
            whole = run_digits(*overrides, folder=f"whole{number}")
            for epoch in range(1, EPOCHS + 1):
                name = f"part{number}-{epoch}"
                stopped_at(15 * epoch, *overrides, folder=name)  # during the last batch: the epoch is finished first
                part = RunFolder(tmp_path / name)
                assert len(part.read_metrics()) == epoch
                run_digits(f"train.resume={part}")
                t.trial(*same(whole, part, f"{setting}, epoch {epoch}"))


@pytest.mark.parametrize("objective", ["autoencoder", "vae", "gan"])
def test_other_objectives_and_bf16_and_many_stops(objective, run_digits, stopped_at, scenario, tmp_path):
    """Stopped, gone on with and stopped again, several times within one epoch and by either signal."""
    overrides = (*BASE, f"objective={objective}", "trainer.precision=bf16-mixed", "optimizer.schedule=cosine")
    with scenario("1 Exact resume: stopped again and again") as t:
        whole = run_digits(*overrides, folder="whole")
        part = RunFolder(tmp_path / "part")
        stopped_at(2, *overrides, folder="part")
        for step, number in ((3, signal.SIGINT), (9, signal.SIGTERM), (16, signal.SIGINT), (44, signal.SIGTERM)):
            stopped_at(step, f"train.resume={part}", folder="part", number=number)
        run_digits(f"train.resume={part}")
        t.trial(*same(whole, part, objective))


def test_going_on_from_the_checkpoint_before_the_last_is_exact(run_digits, stopped_at, scenario, tmp_path):
    """With a checkpoint after every batch."""
    overrides = (*BASE, "train.minutes_between_checkpoints=1e-9")
    with scenario("1 Exact resume: from the checkpoint before the last") as t:
        whole = run_digits(*BASE, folder="whole")
        part = RunFolder(tmp_path / "part")
        stopped_at(20, *overrides, folder="part")
        assert load_checkpoint(part.previous)["global_step"] == 19
        run_digits(f"train.resume={part}", "train.checkpoint=previous")
        t.trial(*same(whole, part, "previous"))


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_with_deterministic_algorithms_a_gpu_is_exact_too(
    accelerator, run_digits, stopped_at, scenario, trials, tmp_path
):
    if accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    place = f"on a {accelerator.upper()} with deterministic algorithms"
    with scenario(f"1 Exact resume: {place}") as t:
        for number, setting in enumerate(SETTINGS[:: trials(12, 1)] if accelerator == "gpu" else SETTINGS[:1]):
            overrides = (*options(*setting), f"trainer.accelerator={accelerator}", "trainer.deterministic=true")
            whole = run_digits(*overrides, folder=f"whole{number}")
            part = RunFolder(tmp_path / f"part{number}")
            stopped_at(20, *overrides, folder=part.path.name)
            assert torch.are_deterministic_algorithms_enabled()
            run_digits(f"train.resume={part}")
            t.trial(*same(whole, part, setting))


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")
def test_a_compiled_run_learns_the_same_and_goes_on_exactly(
    run_digits, stopped_at, scenario, long_only, tmp_path, monkeypatch
):
    overrides = options(batch_norm=True, noise_std=0.5, fakes="both")
    with scenario("1 Exact resume: with train.compile, compiled anew by another process") as t:
        plain = run_digits(*overrides, folder="plain")
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "first"))
        whole = run_digits(*overrides, "train.compile=true", folder="whole")
        losses = [folder.read_metrics()[0]["test/loss"] for folder in (plain, whole)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)

        stopped_at(20, *overrides, "train.compile=true", folder="part")
        part = RunFolder(tmp_path / "part")
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
        own, everybodys = tmp_path / "second", tmp_path / "tmp"
        everybodys.mkdir()
        variables = {"XDG_CACHE_HOME": str(own), "TMPDIR": str(everybodys)}
        command = [sys.executable, "-m", "vaegan.train", f"train.resume={part}"]
        subprocess.run(command, env=os.environ | variables, check=True, capture_output=True)
        assert any((own / "vaegan" / "compiled").rglob("*.so"))
        assert not [path for path in everybodys.rglob("*") if path.is_file()]  # nobody else could have put code there
        assert any((tmp_path / "first").rglob("*.so"))
        t.trial(*same(whole, part, "compiled"))


def same(whole: RunFolder, part: RunFolder, what: str) -> tuple[bool, str]:
    try:
        assert_same_training(whole, part)
        equal = whole.model.read_bytes() == part.model.read_bytes()
        return equal, f"{what}: model.safetensors differs"
    except AssertionError as error:
        return False, f"{what}: {error}"
