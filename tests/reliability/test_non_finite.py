"""NaN and infinity: stopped, named with the step, never kept."""

import json
import math

import pytest
import torch

from vaegan import losses
from vaegan.errors import UserError
from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint
from vaegan.training import module, recorder
from vaegan.training.module import VAEGANModule

STEP = 20  # of 45: in the second epoch of three
RUN = ("data.num_val=300", "trainer.max_epochs=3", "logger.tensorboard=false", "logger.images_every_n_epochs=99")
STEPS_PER_EPOCH = 12


@pytest.fixture(autouse=True)
def _looks_at_every_step(monkeypatch):
    monkeypatch.setattr(recorder, "_SECONDS_BETWEEN_CHECKS", 0.0)


def at_step(instance: VAEGANModule) -> bool:
    return instance.trainer.global_step == STEP - 1


def spoil_batch(monkeypatch, bad: float, monitored: list[VAEGANModule]) -> None:
    pixels = module.pixels

    def spoiled(images):
        x = pixels(images)
        if monitored and monitored[0].trainer.training and at_step(monitored[0]):
            x[0, 0] = bad
        return x

    monkeypatch.setattr(module, "pixels", spoiled)


def spoil_loss(name: str, monkeypatch, bad: float, monitored: list[VAEGANModule]) -> None:
    original = getattr(losses, name)

    def spoiled(*arguments):
        spoil = monitored and monitored[0].trainer.training and at_step(monitored[0])
        return original(*arguments) + (bad if spoil else 0.0)

    monkeypatch.setattr(losses, name, spoiled)


def spoil_gradient(network: str, dim: int, monkeypatch, bad: float, monitored: list[VAEGANModule]) -> None:
    on_fit_start = VAEGANModule.on_fit_start

    def spoiling(self):
        def spoiled(gradient: torch.Tensor) -> torch.Tensor:
            gradient = gradient.clone()
            if at_step(self):
                gradient.view(-1)[0] = bad
            return gradient

        next(p for p in getattr(self.model, network).parameters() if p.dim() == dim).register_hook(spoiled)
        on_fit_start(self)

    monkeypatch.setattr(VAEGANModule, "on_fit_start", spoiling)


CASES = {
    "batch": (spoil_batch, r"train/\w+ is (nan|inf|-inf) at step 20"),
    "reconstruction": (lambda *a: spoil_loss("reconstruction", *a), r"train/reconstruction is (nan|inf|-inf) at step 20"),
    "kl": (lambda *a: spoil_loss("kl_per_dimension", *a), r"train/kl is (nan|inf|-inf) at step 20"),
    "adversarial": (lambda *a: spoil_loss("adversarial", *a), r"train/adversarial is (nan|inf|-inf) at step 20"),
    "discriminator_loss": (
        lambda *a: spoil_loss("discriminator", *a), r"train/discriminator_loss is (nan|inf|-inf) at step 20"
    ),
    "a bias's gradient": (
        lambda *a: spoil_gradient("encoder", 1, *a), r"the gradient of encoder and decoder is (nan|inf|-inf) at step 20"
    ),
    "a bias's gradient, with little memory": (
        lambda *a: spoil_gradient("encoder", 1, *a), r"the gradient of encoder and decoder is (nan|inf|-inf) at step 20"
    ),
    "the discriminator's gradient": (
        lambda *a: spoil_gradient("discriminator", 1, *a), r"the gradient of the discriminator is (nan|inf|-inf) at step 20"
    ),
    # One weight's gradient alone is not watched in the step: the loss of the next step tells.
    "a weight's gradient": (lambda *a: spoil_gradient("decoder", 2, *a), r"train/\w+ is (nan|inf) at step 2[01]"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_finite_stops_the_run_and_is_named(case, run_digits, monkeypatch, scenario, trials, tmp_path):
    spoil, sentence = CASES[case]
    for bad in (math.nan, math.inf, -math.inf)[: trials(1, 3)]:
        monitored: list[VAEGANModule] = []
        start = VAEGANModule.on_train_epoch_start

        def on_train_epoch_start(self, monitored=monitored, start=start):
            monitored.append(self)
            start(self)

        with (
            monkeypatch.context() as patched,
            scenario("5 Non-finite: stopped and named, the last good checkpoint kept") as t,
        ):
            patched.setattr(VAEGANModule, "on_train_epoch_start", on_train_epoch_start)
            spoil(patched, bad, monitored)
            said = sentence + r", so training stops; .*\(the checkpoint of step 12 is kept\)"
            with pytest.raises(UserError, match=said):
                run_digits(*RUN, f"train.low_memory={'little memory' in case}", folder=str(bad))
            folder = RunFolder(tmp_path / str(bad))
            for path in (folder.last, folder.best):
                kept = load_checkpoint(path)
                finite = all(tensor.isfinite().all() for tensor in kept["state_dict"].values())
                t.trial(kept["global_step"] == STEPS_PER_EPOCH and finite, path)
            status = json.loads(
                folder.status.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
            )
            assert status["state"] == "failed"


@pytest.mark.parametrize("network", ["encoder", "decoder", "discriminator"])
def test_a_weights_gradient_is_noticed_before_it_is_kept(network, run_digits, monkeypatch, scenario, tmp_path):
    """With a checkpoint after every step no later step's loss can tell. Only the weights do."""
    spoil_gradient(network, 2, monkeypatch, math.nan, [])
    with scenario("5 Non-finite: a single weight, in the step before a checkpoint") as t:
        with pytest.raises(UserError, match=rf"{network}\.0\.weight is no longer finite at step 20, so training stops"):
            run_digits(*RUN, "train.minutes_between_checkpoints=1e-9")
        folder = RunFolder(tmp_path / "run")
        kept = load_checkpoint(folder.last)
        finite = all(tensor.isfinite().all() for tensor in kept["state_dict"].values())
        t.trial(kept["global_step"] == STEP - 1 and finite, kept["global_step"])


def test_within_an_epoch_it_is_the_clock_that_looks(run_digits, monkeypatch, tmp_path):
    """With checks further apart the same step is named; the epoch is at most finished."""
    monkeypatch.setattr(recorder, "_SECONDS_BETWEEN_CHECKS", 1e9)
    monitored: list[VAEGANModule] = []
    start = VAEGANModule.on_train_epoch_start
    monkeypatch.setattr(VAEGANModule, "on_train_epoch_start", lambda self: (monitored.append(self), start(self))[1])
    spoil_loss("adversarial", monkeypatch, math.inf, monitored)
    with pytest.raises(UserError, match=r"train/adversarial is inf at step 20, .*checkpoint of step 12 is kept"):
        run_digits(*RUN)
    assert len(RunFolder(tmp_path / "run").read_metrics()) == 1


def test_the_step_waits_for_nothing(run_digits, monkeypatch):
    """Between two looks no value is taken from the device."""
    taken = []
    for name in ("item", "tolist", "cpu", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)

        def counted(self, *arguments, name=name, original=original, **options):
            taken.append(name)
            return original(self, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, name, counted)
    step = VAEGANModule.training_step
    counts = []

    def training_step(self, batch, batch_idx):
        before = len(taken)
        step(self, batch, batch_idx)
        counts.append(len(taken) - before)

    monkeypatch.setattr(VAEGANModule, "training_step", training_step)
    run_digits(*RUN, "trainer.max_epochs=1")
    assert counts == [0] * STEPS_PER_EPOCH
