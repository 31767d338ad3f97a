"""The real thing: runs on digits through the command's own code, and what they leave."""

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, make_plan
from PIL import Image
from runs_compared import assert_bitwise_equal, assert_same_training, state
from small_data import write_own
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vaegan
from vaegan import config
from vaegan.data import batches, sources
from vaegan.errors import UserError
from vaegan.runs import RunFolder, held
from vaegan.sealed import load_checkpoint, save_checkpoint
from vaegan.train import train
from vaegan.training import memory
from vaegan.training.module import VAEGANModule


def test_a_run_leaves_every_artefact(run_digits, capsys):
    folder = run_digits("data.noise_std=0.5", "model.latent_dim=2")
    assert sorted(p.name for p in folder.path.iterdir() if p.name != ".lock") == [
        "checkpoints", "codes.npz", "config.yaml", "images", "metrics.csv", "model.safetensors", "status.json", "tensorboard",
    ]  # fmt: skip
    assert sorted(p.name for p in (folder.path / "checkpoints").iterdir()) == ["last.ckpt", "previous.ckpt"]
    assert state(folder)["state_dict"]["model.encoder.1.num_batches_tracked"] == 30  # neither tests nor pictures count
    for name in ("reconstructions", "samples", "latent"):
        for epoch in (1, 2):
            with Image.open(folder.images / f"{name}_epoch_000{epoch}.png") as image:
                assert len(np.unique(np.asarray(image.convert("L")))) > 20
    with Image.open(folder.images / "curves.png") as image:
        assert image.size[0] > 500

    status = json.loads(folder.status.read_text())
    assert (status["state"], status["epoch"], status["error"]) == ("finished", 2, None)
    assert torch.__version__.startswith(status["versions"]["torch"])
    assert len(status["epoch_seconds"]) == 2

    rows = folder.read_metrics()
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 15), (2, 30)]
    assert rows[-1] == {"epoch": 2, "step": 30} | status["metrics"]
    assert {name.partition("/")[0] for name in rows[0]} == {"epoch", "step", "train", "test"}

    printed = capsys.readouterr().out
    for shown in (
        "d = 2, hidden 4",
        "parameters",
        "float32 products",
        f"{rows[1]['test/loss']:.2f}",
        "load_run",
        "left",
    ):
        assert shown in printed or shown == "left"


def test_tensorboard_holds_curves_images_histogram_and_hparams_on_one_step_axis(run_digits):
    folder = run_digits("model.latent_dim=2", "data.num_val=300")
    board = EventAccumulator(
        str(folder.tensorboard), size_guidance={"scalars": 0, "images": 0, "histograms": 0}
    ).Reload()
    rows = folder.read_metrics()
    for name in ("train/loss", "val/loss", "test/loss", "train/d_real", "test/discriminator_loss"):
        assert [(event.step, event.value) for event in board.Scalars(name)] == [
            (row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows
        ]
    for name in ("samples", "reconstructions", "latent"):
        assert [event.step for event in board.Images(name)] == [12, 24]
    assert [event.step for event in board.Histograms("test/kl_per_dimension")] == [12, 24]
    assert board.Scalars("hp/test_loss")[-1].value == pytest.approx(rows[-1]["test/loss"], rel=1e-6)
    assert (
        "hparams" in board.PluginAssets("hparams")
        or "hparams" in board.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
    )


def test_load_run_is_bitwise_the_model_that_was_saved(run_digits):
    folder = run_digits("data.noise_std=0.5")
    model = vaegan.load_run(folder.path)
    trained = {name.removeprefix("model."): tensor for name, tensor in state(folder)["state_dict"].items()}
    assert_bitwise_equal(dict(model.state_dict()), dict(trained))
    assert not model.training
    assert_bitwise_equal(dict(vaegan.load_run(folder.path, "last").state_dict()), dict(trained))
    x = torch.rand(5, 784)
    assert torch.equal(model.reconstruct(x), vaegan.load_run(folder.path).reconstruct(x))


def test_same_seed_same_run_other_seed_another(run_digits):
    options = ("data.noise_std=0.3", "model.dropout=0.1", "objective.fakes=both")
    first = run_digits(*options, folder="a")
    torch.manual_seed(123)  # whatever happened before
    assert_same_training(first, run_digits(*options, folder="b"))
    assert first.metrics.read_bytes() != run_digits(*options, "seed=1", folder="c").metrics.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        ("data.noise_std=0.3", "optimizer.schedule=step", "optimizer.step_size=1"),
        ("model.batch_norm=false", "model.dropout=0.2", "optimizer.schedule=plateau", "optimizer.patience=0"),
        ("objective=gan",),
    ],
)
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(options, run_digits):
    whole = run_digits(*options, "trainer.max_epochs=3", folder="whole")
    part = run_digits(*options, "trainer.max_epochs=1", folder="part")
    run_digits(f"train.resume={part}", "trainer.max_epochs=3")
    assert_same_training(whole, part)
    assert json.loads(part.status.read_text())["state"] == "finished"


def test_resume_refuses_other_settings_and_keeps_the_stored_ones(run_digits, tmp_path):
    folder = run_digits("model.latent_dim=3", "trainer.max_epochs=1")
    before = folder.config.read_bytes()
    with pytest.raises(UserError, match=r"model\.latent_dim is 4 here but 3 in the run"):
        run_digits(f"train.resume={folder}", "model.latent_dim=4")
    with pytest.raises(UserError, match=r"data\.name is 'mnist' here but 'digits'"):
        make_plan(tmp_path, f"train.resume={folder}", "+experiment=vaegan")
    assert folder.config.read_bytes() == before
    plan = make_plan(tmp_path, f"train.resume={folder}", "trainer.max_epochs=7", f"data.root={tmp_path}")
    assert plan.config.data.root == str(tmp_path)
    assert (plan.config.model.latent_dim, plan.config.data.name, plan.config.trainer.max_epochs) == (3, "digits", 7)


def test_a_finished_run_is_gone_on_with_only_for_more_epochs(run_digits, tmp_path):
    folder = run_digits("trainer.max_epochs=1")
    with pytest.raises(UserError, match=r"has finished its 1 epochs; give it more with trainer\.max_epochs=N"):
        make_plan(tmp_path, f"train.resume={folder}")


def test_a_run_killed_before_its_model_was_written_gets_it_by_resuming(run_digits):
    folder = run_digits("trainer.max_epochs=1")
    model = folder.model.read_bytes()
    metrics = folder.metrics.read_bytes()
    folder.model.unlink()
    folder.write_status(folder.read_status() | {"state": "running"})
    run_digits(f"train.resume={folder}")
    assert folder.model.read_bytes() == model
    assert folder.metrics.read_bytes() == metrics
    assert folder.read_status()["state"] == "finished"


def test_cosine_schedule_cannot_be_stretched(run_digits, tmp_path):
    folder = run_digits("optimizer.schedule=cosine", "trainer.max_epochs=1")
    with pytest.raises(UserError, match=r"trainer\.max_epochs must stay 1"):
        make_plan(tmp_path, f"train.resume={folder}", "trainer.max_epochs=7")


def test_resume_with_a_damaged_checkpoint_names_the_file(run_digits):
    folder = run_digits("trainer.max_epochs=1")
    folder.last.write_bytes(folder.last.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"last\.ckpt is not a readable checkpoint"):
        run_digits(f"train.resume={folder}", "trainer.max_epochs=2")


def test_resume_with_the_checkpoint_of_another_run_names_the_difference(run_digits):
    folder = run_digits("trainer.max_epochs=1")
    other = run_digits("trainer.max_epochs=1", "model.latent_dim=5", folder="other")
    folder.last.write_bytes(other.last.read_bytes())
    before = folder.status.read_bytes()
    with pytest.raises(UserError, match=r"last\.ckpt was made with model\.latent_dim=5, not 4"):
        run_digits(f"train.resume={folder}", "trainer.max_epochs=2")
    assert folder.status.read_bytes() == before


@pytest.mark.parametrize("part, value", [("optimizer_states", [{}]), ("loops", {}), ("state_dict", {})])
def test_resume_with_a_checkpoint_that_lacks_a_part_is_refused_in_a_sentence(part, value, run_digits):
    folder = run_digits("trainer.max_epochs=1")
    save_checkpoint(load_checkpoint(folder.last) | {part: value}, folder.last)
    with pytest.raises(UserError, match=r"last\.ckpt does not fit the run \("):
        run_digits(f"train.resume={folder}", "trainer.max_epochs=2")


@pytest.mark.parametrize("callbacks", [5, {}, {"Recorder": 5}, {"Recorder": {"rows": 5}}])
def test_a_checkpoint_without_the_rows_of_its_run_is_refused(callbacks, run_digits):
    folder = run_digits("trainer.max_epochs=1")
    save_checkpoint(load_checkpoint(folder.last) | {"callbacks": callbacks}, folder.last)
    with pytest.raises(UserError, match=r"last\.ckpt is not a checkpoint of a run of vaegan"):
        run_digits(f"train.resume={folder}", "trainer.max_epochs=2")


def test_a_checkpoint_past_the_end_that_is_asked_for_is_refused(run_digits):
    """It would end at once, with the weights of the middle of an epoch."""
    folder = run_digits("trainer.max_epochs=3", "train.minutes_between_checkpoints=1e-9")
    folder.write_status(folder.read_status() | {"state": "interrupted"})
    with pytest.raises(UserError, match=r"trainer\.max_epochs is 2, but \S+last\.ckpt is of epoch 3; give it more"):
        run_digits(f"train.resume={folder}", "trainer.max_epochs=2")
    with pytest.raises(UserError, match=r"trainer\.max_steps is 44, but \S+last\.ckpt is of step 45; give it more"):
        run_digits(f"train.resume={folder}", "trainer.max_steps=44")
    folder.last.write_bytes(folder.previous.read_bytes())  # of step 44, inside the epoch
    with pytest.raises(UserError, match=r"trainer\.max_steps is 44, but \S+last\.ckpt is of step 44; give it more"):
        run_digits(f"train.resume={folder}", "trainer.max_steps=44")
    run_digits(f"train.resume={folder}", "trainer.max_steps=45")
    assert folder.read_metrics()[-1]["step"] == 45


def test_rows_beyond_the_checkpoint_are_trained_again(run_digits):
    """A crash between the row and the checkpoint."""
    whole = run_digits(folder="whole")
    part = run_digits("trainer.max_epochs=1", folder="part")
    part.write_metrics([*part.read_metrics(), {**part.read_metrics()[0], "epoch": 2, "train/loss": 12345.0}])
    run_digits(f"train.resume={part}", "trainer.max_epochs=2")
    assert_same_training(whole, part)


# A hundred images learned by heart: the validation loss rises after a few epochs while the training loss falls on.
OVERFITTING = (
    "data.num_val=1400", "data.batch_size=50", "objective=vae", "model.latent_dim=16", "optimizer.vae.lr=3e-3",
    "logger.tensorboard=false", "logger.images_every_n_epochs=100",
)  # fmt: skip


def test_best_is_the_lowest_validation_loss_and_outlives_a_resume(run_digits):
    folder = run_digits(*OVERFITTING, "trainer.max_epochs=60")
    rows = folder.read_metrics()
    best = min(rows, key=lambda row: row["val/loss"])
    assert best["epoch"] < 60
    assert rows[-1]["train/loss"] < best["train/loss"]  # choosing by it would choose another epoch
    assert rows[0]["val/loss"] == pytest.approx(rows[0]["val/reconstruction"] + rows[0]["val/kl"])
    assert load_checkpoint(folder.best)["global_step"] == best["step"]
    run_digits(f"train.resume={folder}", "trainer.max_epochs=61")
    assert load_checkpoint(folder.best)["global_step"] == best["step"]


def test_best_is_mended_where_a_kill_came_between_the_two_checkpoints(run_digits):
    folder = run_digits("data.num_val=300", "trainer.max_epochs=2")
    rows = folder.read_metrics()
    assert rows[1]["val/loss"] < rows[0]["val/loss"]
    folder.best.unlink()
    folder.previous.rename(folder.best)  # as if killed after last.ckpt was written and before best.ckpt was
    folder.write_status(folder.read_status() | {"state": "running"})
    run_digits(f"train.resume={folder}")
    assert load_checkpoint(folder.best)["global_step"] == rows[1]["step"]


def test_what_a_killed_run_left_half_written_is_cleared_away(run_digits):
    folder = run_digits("trainer.max_epochs=1")
    stale = [
        folder.last.with_name("last.ckpt.part"),
        folder.images / "curves.png.part",
        folder.path / "status.json.part",
    ]
    for path in stale:
        path.write_bytes(b"half")
    with held(make_plan(folder.path, f"train.resume={folder}", "trainer.max_epochs=2")):
        assert not any(path.exists() for path in stale)


def test_tensorboard_shows_no_step_twice_after_going_back(run_digits):
    folder = run_digits("trainer.max_epochs=3", "logger.images_every_n_epochs=99")
    run_digits(f"train.resume={folder}", "train.checkpoint=previous")
    board = EventAccumulator(str(folder.tensorboard), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == [15, 30, 45]


def test_plateau_looks_at_the_validation_loss(run_digits):
    folder = run_digits(*OVERFITTING, "trainer.max_epochs=60", "optimizer.schedule=plateau", "optimizer.patience=5")
    rates = [group["param_groups"][0]["lr"] for group in state(folder)["optimizer_states"]]
    assert rates[0] < 3e-3


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(run_digits, tmp_path):
    with pytest.raises(UserError, match=r"train/\w+ is (nan|inf) at step \d+, so training stops"):
        run_digits("data.num_val=300", "optimizer.vae.lr=1e30", "model.batch_norm=false")
    folder = RunFolder(tmp_path / "run")
    assert not folder.best.exists() and not folder.last.exists()
    status = json.loads(folder.status.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert status["state"] == "failed"


def test_a_run_without_a_checkpoint_starts_again(run_digits):
    whole = run_digits(folder="whole")
    part = run_digits(folder="part")
    for path in (part.last, part.previous, part.model):
        path.unlink()
    part.write_status(part.read_status() | {"state": "interrupted", "epoch": 0})
    run_digits(f"train.resume={part}")
    assert_same_training(whole, part)


def test_max_steps_counts_batches_and_the_last_epoch_is_evaluated(run_digits):
    folder = run_digits("trainer.max_steps=20")
    rows = folder.read_metrics()
    assert [row["step"] for row in rows] == [15, 20]
    assert rows[-1]["test/loss"] < rows[0]["test/loss"]


@pytest.mark.parametrize("objective", ["autoencoder", "vae", "gan"])
def test_every_objective_runs_and_can_be_loaded(objective, run_digits):
    folder = run_digits(f"objective={objective}", "trainer.max_epochs=1")
    model = vaegan.load_run(folder.path)
    assert model.generate(torch.randn(3, 4)).shape == (3, 784)
    names = set(folder.read_metrics()[0])
    assert ("test/loss" in names) == (objective != "gan")
    assert ("train/kl" in names) == (objective == "vae")
    assert ("train/adversarial" in names) == (objective == "gan")


@pytest.fixture
def train_own(tmp_path):
    """Trains on digits as files of one's own; no run may leave a thread behind."""
    digits = [array.reshape(-1, *(28, 28) * (array.ndim > 1)) for array in astuple(sources.load("digits", None))]
    root = write_own(tmp_path / "own", digits)
    options = ("data=own", f"data.root={root}", "data.num_images=1500", *SMALL[1:])

    def run(*overrides: str, folder: str) -> RunFolder:
        resuming = any(override.startswith("train.resume=") for override in overrides)
        plan = make_plan(tmp_path / folder, *(() if resuming else options), *overrides)
        train(plan)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading-ahead")]
        return plan.folder

    return run


def test_own_files_train_and_a_run_stopped_inside_an_epoch_goes_on_exactly(train_own, monkeypatch):
    monkeypatch.setattr(batches, "BLOCK", 32)
    monkeypatch.setattr(batches, "GROUP", 500)  # 5 batches of 100
    options = ("data.num_val=300", "data.held_out_class=7", "data.noise_std=0.3", "model.latent_dim=2")
    whole = train_own(*options, folder="whole")
    rows = whole.read_metrics()
    assert [row["step"] for row in rows] == [10, 20]  # 1,200 images but for those of a class: 10 batches of 100
    assert rows[1]["val/loss"] < rows[0]["val/loss"]
    assert len(np.load(whole.codes)["mu"]) == 297
    take_step = VAEGANModule.training_step

    def stopped_at_17(self, batch, batch_idx):
        take_step(self, batch, batch_idx)
        if self.trainer.global_step == 17:  # inside the second group of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(VAEGANModule, "training_step", stopped_at_17)
        train_own(*options, folder="part")
    part = RunFolder(whole.path.with_name("part"))
    assert part.read_status()["step"] == 17
    train_own(f"train.resume={part}", folder="part")
    assert_same_training(whole, part)


def test_own_files_have_the_losses_of_the_same_images_in_memory(train_own, run_digits):
    """One batch of all images, so that their order does not count."""
    options = ("data.batch_size=1500", "trainer.max_epochs=1", "objective=autoencoder")
    ours = train_own(*options, folder="ours").read_metrics()[0]
    theirs = run_digits(*options, folder="theirs").read_metrics()[0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_cheap_metrics_of_own_files_are_those_that_need_no_classifier(train_own):
    folder = train_own("logger.metrics_every_n_epochs=1", "trainer.max_epochs=1", folder="run")
    tags = EventAccumulator(str(folder.tensorboard)).Reload().Tags()["scalars"]
    assert {tag for tag in tags if tag.startswith("evaluation/")} == {
        "evaluation/active_units",
        "evaluation/probe_accuracy",
    }


def test_own_files_that_are_cut_off_stop_the_run_with_a_sentence(train_own, tmp_path, monkeypatch):
    monkeypatch.setattr(batches, "GROUP", 200)

    def cut(self, *_):
        path = tmp_path / "own" / "train-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:5000])

    monkeypatch.setattr(VAEGANModule, "on_train_epoch_start", cut)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte can no longer be read"):
        train_own(folder="run")
    assert RunFolder(tmp_path / "run").read_status()["state"] == "failed"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading-ahead")]


def test_a_folder_that_holds_a_run_is_not_overwritten(run_digits, tmp_path):
    run_digits("trainer.max_epochs=1")
    plan = make_plan(tmp_path / "run", *SMALL)
    with pytest.raises(UserError, match="already holds a run; resume it with train.resume="), held(plan):
        pass


def test_a_device_that_is_not_there_is_named(tmp_path):
    missing = "gpu" if not torch.cuda.is_available() else "mps"
    with pytest.raises(UserError, match=f"trainer.accelerator={missing} is not there on this machine; it has: .*cpu"):
        train(make_plan(tmp_path / "run", *SMALL, f"trainer.accelerator={missing}"))


def test_a_model_beyond_the_memory_is_refused_with_the_estimate(tmp_path):
    # 784 x 25 million hidden units, twice: 630 GB.
    with pytest.raises(UserError, match=r"model\.latent_dim=5000 .* needs about [0-9]{4}\.[0-9] GB .*free on cpu"):
        train(make_plan(tmp_path / "run", *SMALL, "model.latent_dim=5000"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_crash_is_written_down(run_digits, tmp_path, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(VAEGANModule, "on_validation_epoch_end", crash)
    with pytest.raises(ZeroDivisionError):
        run_digits()
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "in the middle" in status["error"]


# As a person at a shell -----------------------------------------------------------------------------------------------


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "vaegan.train", *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, env=os.environ | environment,
    )  # fmt: skip


def test_smoke_from_any_directory_prints_plain_lines(tmp_path):
    done = command("+experiment=smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder,) = (tmp_path / "outputs" / "smoke").iterdir()
    assert f"run folder  {folder.relative_to(tmp_path)}" in done.stdout
    assert "\x1b" not in done.stdout
    epochs = [line for line in done.stdout.splitlines() if line.strip().startswith(("1/", "2/", "3/"))]
    assert len(epochs) == 3
    assert RunFolder(folder).read_config() == config.check(config.to_dict(RunFolder(folder).read_config()))


def test_damaged_data_is_named_with_exit_code_2(tmp_path):
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\0")
    done = command("+experiment=vaegan", f"data.root={tmp_path / 'data'}", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "train-images-idx3-ubyte" in done.stderr
    assert "SHA-256" in done.stderr
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("low_memory", ["null", "false", "true"])
def test_freed_memory_is_kept_unless_others_are_to_have_it(run_digits, monkeypatch, low_memory):
    asked = []
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: asked.append(True))
    run_digits("trainer.max_steps=1", f"train.low_memory={low_memory}")
    assert asked == ([] if low_memory == "true" else [True])
