"""The splits that training and evaluation see."""

import pytest
from conftest import make_config

from vaegan.config import NUM_TRAIN_IMAGES
from vaegan.data import sources
from vaegan.data.module import ImageData


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_the_size_that_options_are_checked_against_is_the_data_set_s(name):
    assert len(sources.load(name, None).train_images) == NUM_TRAIN_IMAGES[name]


def test_validation_images_are_the_last_of_the_training_set_and_nobody_elses():
    data = ImageData(make_config("data=digits", "data.num_val=300").data, seed=0)
    data.prepare_data()
    images = sources.load("digits", None)
    assert data.evaluation_splits == ["val", "test"]
    assert (data.splits["train"][0].numpy() == images.train_images[:1200]).all()
    assert (data.splits["val"][0].numpy() == images.train_images[1200:]).all()
    assert (data.splits["val"][1].numpy() == images.train_labels[1200:]).all()
    assert (data.splits["test"][0].numpy() == images.test_images).all()
