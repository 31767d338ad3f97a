"""The cheap metrics that a run can log as it goes on."""

import pytest
import torch
from conftest import fit, make_config
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vaegan.data.module import ImageData
from vaegan.errors import UserError
from vaegan.training.evaluations import cheap_metrics
from vaegan.training.module import VAEGANModule

NAMES = {"evaluation/active_units", "evaluation/probe_accuracy", "evaluation/classifier_score"}


def test_they_are_in_tensorboard_every_nth_epoch(run_digits):
    folder = run_digits("logger.metrics_every_n_epochs=2", "trainer.max_epochs=5")
    board = EventAccumulator(str(folder.tensorboard)).Reload()
    assert set(board.Tags()["scalars"]) >= NAMES
    assert [event.step for event in board.Scalars("evaluation/probe_accuracy")] == [30, 60]  # 15 steps an epoch


def test_measuring_changes_nothing_of_the_run(run_digits):
    measured = run_digits("logger.metrics_every_n_epochs=1", folder="measured")
    plain = run_digits(folder="plain")
    assert measured.model.read_bytes() == plain.model.read_bytes()
    assert measured.metrics.read_text() == plain.metrics.read_text()


def test_a_constant_encoder_has_no_active_unit_and_a_probe_that_guesses():
    module = VAEGANModule(make_config("data=digits", "model.latent_dim=4")).eval()
    data = ImageData(module.config.data, seed=0)
    data.prepare_data()
    with torch.no_grad():
        for parameter in module.model.encoder.parameters():
            parameter.zero_()
    values = cheap_metrics(module, data.splits)
    assert values["active_units"] == 0
    assert values["probe_accuracy"] < 0.15
    assert 1 <= values["classifier_score"] <= 10


def test_images_of_one_class_have_no_probe():
    module = VAEGANModule(make_config("data=digits", "model.latent_dim=4")).eval()
    data = ImageData(module.config.data, seed=0)
    data.prepare_data()
    splits = {name: (images, torch.zeros_like(labels)) for name, (images, labels) in data.splits.items()}
    assert set(cheap_metrics(module, splits)) == {"active_units", "classifier_score"}


def test_a_gan_has_only_samples():
    module = VAEGANModule(make_config("data=digits", "objective=gan"))
    trainer = fit(module)
    assert set(cheap_metrics(module.eval(), trainer.datamodule.splits)) == {"classifier_score"}


def test_without_tensorboard_there_is_nowhere_to_write():
    with pytest.raises(UserError, match="logger.tensorboard=true"):
        make_config("logger.metrics_every_n_epochs=1", "logger.tensorboard=false")
