"""The loader: order, completeness, and one image's noise the same for every model."""

import torch

from vaegan.data.batches import Batches, EpochOrder, ShuffledBatches, pixels

IMAGES = torch.arange(10, dtype=torch.uint8)[:, None].expand(10, 784).contiguous()
LABELS = torch.arange(10)


def shuffled(seed: int, epoch: int, batch_size: int = 3) -> list[int]:
    loader = ShuffledBatches(IMAGES, LABELS, batch_size, EpochOrder(10, seed))
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    assert len(batches) == len(loader)
    for images, labels in batches:
        assert images.dtype == torch.uint8
        assert torch.equal(images[:, 0].long(), labels)  # an image keeps its label
    return torch.cat([labels for _, labels in batches]).tolist()


def test_evaluation_sees_every_image_once_in_order():
    loader = Batches(IMAGES, LABELS, 4)
    assert [len(labels) for _, labels in loader] == [4, 4, 2]
    assert len(loader) == 3
    assert torch.cat([labels for _, labels in loader]).tolist() == list(range(10))


def test_an_epoch_repeats_no_image_and_drops_the_incomplete_batch():
    seen = shuffled(seed=0, epoch=0)
    assert len(seen) == len(set(seen)) == 9


def test_order_is_a_function_of_seed_and_epoch():
    assert shuffled(0, 4) == shuffled(0, 4)
    assert shuffled(0, 4) != shuffled(0, 5)
    assert shuffled(0, 4) != shuffled(1, 4)


def test_set_epoch_after_iter_still_counts():
    """Lightning makes the first epoch's iterator before it sets the epoch."""
    loader = ShuffledBatches(IMAGES, LABELS, 3, EpochOrder(10, 0))
    iterator = iter(loader)
    loader.sampler.set_epoch(7)
    assert torch.cat([labels for _, labels in iterator]).tolist() == shuffled(0, 7)


def test_order_does_not_depend_on_the_batch_size():
    assert shuffled(0, 0, batch_size=2)[:9] == shuffled(0, 0, batch_size=3)[:9]


def test_pixels_are_float32_in_the_unit_interval():
    x = pixels(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x, torch.tensor([[0.0, 0.2, 1.0]]))
