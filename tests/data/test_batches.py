"""The loader: order, completeness, and one image's noise the same for every model."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from small_data import write_own
from torch.utils._python_dispatch import TorchDispatchMode

from vaegan.data import batches, mapped
from vaegan.data.batches import Batches, EpochOrder, MappedBatches, ShuffledBatches, pixels
from vaegan.errors import UserError
from vaegan.files import write_whole

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


# Images on disk -------------------------------------------------------------------------------------------------------

NUM = 1003  # the last block is incomplete


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 images, groups of about 64: 126 blocks and 16 groups, where there would be 4 blocks and one group."""
    monkeypatch.setattr(batches, "BLOCK", 8)
    monkeypatch.setattr(batches, "GROUP", 64)


@pytest.fixture
def on_disk(tmp_path, small_blocks):
    """1,003 images that say their number in their first two pixels, labelled by its last digit; the rest is noise."""
    images = np.random.default_rng(0).integers(0, 256, (NUM, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(NUM) // 256, np.arange(NUM) % 256
    labels = (np.arange(NUM) % 10).astype(np.uint8)
    write_own(tmp_path, (images, labels, images[:1], labels[:1]))
    return mapped.load(tmp_path, NUM)[0]


def loader(on_disk, batch_size: int = 20, seed: int = 0, epoch: int = 0) -> MappedBatches:
    images, labels = on_disk
    made = MappedBatches(images, labels, batch_size, EpochOrder(len(images), seed))
    made.sampler.set_epoch(epoch)
    return made


def numbers(given: list[tuple[torch.Tensor, torch.Tensor]]) -> list[int]:
    """Which images these batches are of, after a look at their labels."""
    images, labels = (torch.cat(part) for part in zip(*given, strict=True))
    assert images.dtype == torch.uint8 and images.shape[1:] == (784,) and labels.dtype == torch.int64
    found = images[:, 0].long() * 256 + images[:, 1].long()
    assert torch.equal(found % 10, labels)
    return found.tolist()


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reading-ahead")]


# one that divides nothing, a block's, a group's, larger than a group, more than half of all, all
@pytest.mark.parametrize("batch_size", [3, 8, 64, 100, 600, NUM])
def test_an_epoch_from_disk_repeats_no_image_and_drops_the_incomplete_batch(on_disk, batch_size):
    epoch = loader(on_disk, batch_size)
    given = list(epoch)
    assert len(given) == len(epoch) == NUM // batch_size
    assert {len(labels) for _, labels in given} == {batch_size}
    seen = numbers(given)
    assert len(seen) == len(set(seen)) == NUM // batch_size * batch_size


def test_what_is_dropped_is_not_always_the_same(on_disk):
    dropped = [set(range(NUM)) - set(numbers(list(loader(on_disk, 100, epoch=epoch)))) for epoch in range(20)]
    assert len(set.union(*dropped)) > 30  # 3 an epoch
    assert any(NUM - 1 not in left_out for left_out in dropped)


def test_images_from_disk_are_those_in_memory(on_disk):
    images, _ = on_disk
    given = list(loader(on_disk))
    assert torch.equal(torch.cat([batch for batch, _ in given]), images[:][numbers(given)])


def test_the_order_from_disk_is_a_function_of_seed_and_epoch(on_disk):
    first = numbers(list(loader(on_disk, epoch=4)))
    again = loader(on_disk, epoch=2)
    list(again)
    again.sampler.set_epoch(4)
    assert numbers(list(again)) == first
    assert numbers(list(loader(on_disk, epoch=5))) != first
    assert numbers(list(loader(on_disk, seed=1, epoch=4))) != first


def test_blocks_come_whole_and_their_images_apart(on_disk):
    """What makes it both fast and random: 60 images of a group are of 8 or 9 blocks, and neighbours are seldom batched."""
    seen = numbers(list(loader(on_disk)))
    groups = [seen[start : start + 60] for start in range(0, 960, 60)]
    assert all(len({number // 8 for number in group}) <= 10 for group in groups)
    followed = sum(second == first + 1 for first, second in zip(seen, seen[1:], strict=False))
    assert followed < 60  # of 1,000; in the order of the file all
    starts = [group[0] for group in groups]
    assert starts != sorted(starts)


def test_images_that_fit_into_one_group_are_shuffled_altogether(on_disk, monkeypatch):
    monkeypatch.setattr(batches, "GROUP", 2048)
    seen = np.array(numbers(list(loader(on_disk, NUM))))
    assert abs(np.corrcoef(seen, np.arange(NUM))[0, 1]) < 0.15


@pytest.mark.parametrize("batch_size", [20, 7, 100])
def test_an_epoch_from_disk_that_was_stopped_goes_on_with_the_same_batches(on_disk, batch_size):
    whole = list(loader(on_disk, batch_size, epoch=3))
    for given in {0, 1, 2, 3, 5, len(whole) - 1, len(whole)}:
        stopped = loader(on_disk, batch_size, epoch=3)
        iterator = iter(stopped)
        for _ in range(given):
            next(iterator)
        state = stopped.state_dict()
        assert state == {"epoch": 3, "batches": given}
        resumed = loader(on_disk, batch_size, epoch=3)
        resumed.load_state_dict(state)
        rest = list(resumed)
        assert len(rest) == len(whole) - given
        for (images, labels), (expected, expected_labels) in zip(rest, whole[given:], strict=True):
            assert torch.equal(images, expected) and torch.equal(labels, expected_labels)
        resumed.sampler.set_epoch(4)
        assert len(list(resumed)) == len(whole)  # the epoch after begins at its beginning


def test_a_choice_of_images_is_shuffled_and_nothing_else_is_read(on_disk):
    images, labels = on_disk
    odd = torch.arange(1, NUM, 2)
    seen = numbers(list(loader((images.only(odd), labels[odd]), 10)))
    assert len(seen) == len(set(seen)) == 500
    assert all(number % 2 for number in seen)


def test_one_group_is_read_ahead_and_no_more(on_disk, monkeypatch):
    asked = []
    places = MappedBatches._places

    def recorded(self, epoch, group, group_size):
        asked.append(group)
        return places(self, epoch, group, group_size)

    monkeypatch.setattr(MappedBatches, "_places", recorded)
    for number, _ in enumerate(loader(on_disk)):  # 3 batches a group
        assert max(asked) <= number // 3 + 1
    assert asked == list(range(17))


def test_the_reading_thread_computes_nothing_with_torch(on_disk, monkeypatch):
    """It would have OpenMP start a second team of threads, and every operation after that would take twice as long."""
    computed = []

    class Watched(ThreadPoolExecutor):
        def submit(self, function, *arguments):
            def watched():
                with Computed() as mode:
                    found = function(*arguments)
                computed.append(mode.names)
                return found

            return super().submit(watched)

    monkeypatch.setattr(batches, "ThreadPoolExecutor", Watched)
    list(loader(on_disk))
    assert computed == [{"aten::lift_fresh", "aten::detach"}] * 17  # of torch.from_numpy; neither computes


class Computed(TorchDispatchMode):
    """The operations of torch that are called in this thread while it is entered."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_the_thread_ends_with_the_iterator(on_disk):
    before = threading.active_count()
    list(loader(on_disk))
    assert not reading_threads()
    iterator = iter(loader(on_disk))
    assert not reading_threads()  # not before the first batch
    next(iterator)
    assert len(reading_threads()) == 1
    iterator.close()
    assert not reading_threads()
    iterator = iter(loader(on_disk))
    next(iterator)
    del iterator
    gc.collect()
    assert threading.active_count() == before


def test_an_error_while_reading_ahead_reaches_the_one_who_trains(on_disk):
    images, _ = on_disk
    iterator = iter(loader(on_disk))
    next(iterator)
    # Replaced, not cut: the thread may be reading what is mapped, and what is cut off under it would kill the process.
    write_whole(images.path, images.path.read_bytes()[: 16 + 784 * 10])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte can no longer be read \(mmap length"):
        list(iterator)
    assert not reading_threads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_from_disk_lie_where_the_model_computes(on_disk):
    images, labels = on_disk
    given = list(loader((images.to("cuda"), labels.to("cuda"))))
    expected = list(loader(on_disk))
    for (images, labels), (x, y) in zip(given, expected, strict=True):
        assert images.device.type == labels.device.type == "cuda"
        assert torch.equal(images.cpu(), x) and torch.equal(labels.cpu(), y)
