"""The splits that training and evaluation see."""

import dataclasses

import pytest
import torch
from conftest import make_config
from small_data import write_own

from vaegan.config import NUM_TRAIN_IMAGES
from vaegan.data import sources
from vaegan.data.batches import MappedBatches, ShuffledBatches
from vaegan.data.mapped import MappedImages
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


def test_fewer_images_are_the_first_ones_and_validation_the_last_of_them():
    data = ImageData(make_config("data=digits", "data.num_images=1000", "data.num_val=300").data, seed=0)
    data.prepare_data()
    images = sources.load("digits", None)
    assert (data.splits["train"][0].numpy() == images.train_images[:700]).all()
    assert (data.splits["val"][0].numpy() == images.train_images[700:1000]).all()
    assert (data.splits["test"][0].numpy() == images.test_images).all()
    assert type(data.train_dataloader()) is ShuffledBatches


@pytest.fixture
def own(tmp_path):
    """The options of digits as files of one's own."""
    digits = [
        array.reshape(-1, *(28, 28) * (array.ndim > 1)) for array in dataclasses.astuple(sources.load("digits", None))
    ]
    return "data=own", f"data.root={write_own(tmp_path / 'own', digits)}", "data.batch_size=100"


@pytest.mark.parametrize("options", [(), ("data.num_val=300",), ("data.num_val=300", "data.held_out_class=7")])
def test_own_files_are_split_as_images_in_memory_are_and_stay_on_disk(own, options):
    ours, theirs = (
        ImageData(make_config(*name, *options, "data.num_images=1000").data, seed=0) for name in (own, ("data=digits",))
    )
    for data in (ours, theirs):
        data.prepare_data()
    assert ours.evaluation_splits == theirs.evaluation_splits
    for name, (images, labels) in theirs.splits.items():
        assert isinstance(ours.splits[name][0], MappedImages)
        assert len(ours.splits[name][0]) == len(images)
        assert torch.equal(ours.splits[name][0][:], images)
        assert torch.equal(ours.splits[name][1], labels)
    for own_batches, batches in zip(ours.val_dataloader(), theirs.val_dataloader(), strict=True):
        assert len(own_batches) == len(batches)
        for (images, labels), (x, y) in zip(own_batches, batches, strict=True):
            assert torch.equal(images, x) and torch.equal(labels, y)
    loader = ours.train_dataloader()
    assert isinstance(loader, MappedBatches)
    assert len(loader) == len(theirs.train_dataloader())


def test_own_files_with_too_few_images_are_refused(own):
    data = ImageData(make_config(*own, "data.num_images=1501").data, seed=0)
    with pytest.raises(UserError, match="data.num_images is 1501, but .* has only 1500 images; choose at most that"):
        data.prepare_data()
