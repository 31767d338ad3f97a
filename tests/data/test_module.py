"""The splits that training and evaluation see."""

import pytest
from conftest import make_config

from vaegan.config import NUM_TRAIN_IMAGES
from vaegan.data import sources
from vaegan.data.module import ImageData
from vaegan.errors import UserError


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


def test_a_held_out_class_is_in_the_test_images_alone():
    data = ImageData(make_config("data=digits", "data.num_val=300", "data.held_out_class=7").data, seed=0)
    data.prepare_data()
    images = sources.load("digits", None)
    known = images.train_labels != 7
    assert (data.splits["train"][0].numpy() == images.train_images[:1200][known[:1200]]).all()
    assert (data.splits["val"][1].numpy() == images.train_labels[1200:][known[1200:]]).all()
    assert (data.splits["test"][1].numpy() == images.test_labels).all()


def test_a_batch_that_the_known_classes_cannot_fill_is_refused():
    data = ImageData(make_config("data=digits", "data.batch_size=1500", "data.held_out_class=7").data, seed=0)
    with pytest.raises(UserError, match="data.held_out_class=7 leaves .* smaller data.batch_size"):
        data.prepare_data()


def test_a_home_folder_that_is_not_there_is_a_sentence_about_data_root():
    data = ImageData(make_config("data=digits", "data.root='~nobody_of_this_name/data'").data, seed=0)
    with pytest.raises(UserError, match="data.root is '~nobody_of_this_name/data', but there is no such home folder"):
        data.prepare_data()
