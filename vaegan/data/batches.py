"""The loader: batches gathered from images that are held once, as uint8, where the model computes, or that lie on disk."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from vaegan import randomness
from vaegan.data.mapped import Images, MappedImages

BLOCK = 256  # images that lie side by side on disk and are read together: 200 kB
GROUP = 64 * BLOCK  # about how many are read ahead and shuffled: 13 MB
EVALUATION_BATCH = 500  # fixed, so that evaluation noise, keyed by batch, is the same whatever data.batch_size is


class EpochOrder:
    """The order of the training images: a pure function of (seed, epoch). Lightning calls set_epoch."""

    def __init__(self, num_images: int, seed: int):
        self.num_images = num_images
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def indices(self) -> Tensor:
        """A permutation (num_images,), drawn on the CPU so that it is the same on every device."""
        return torch.randperm(self.num_images, generator=randomness.generator("cpu", self.seed, "order", self.epoch))


class Batches:
    """An iterable of (images (B, 784) uint8, labels (B,) int64) for Lightning, in the order they lie, all of them."""

    def __init__(self, images: Images, labels: Tensor, batch_size: int):
        self.images = images
        self.labels = labels
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True)


class ShuffledBatches(Batches):
    """The same in the order of the epoch, an incomplete last batch left out: every step averages over as many images.

    Lightning keeps state_dict() in checkpoints, so a run that was stopped inside an epoch goes on with the batch after.
    """

    def __init__(self, images: Images, labels: Tensor, batch_size: int, order: EpochOrder):
        super().__init__(images, labels, batch_size)
        self.sampler = order  # the name where Lightning looks for set_epoch
        self._given = 0
        self._begun: dict[str, int] | None = None  # the epoch that was not finished

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.sampler.epoch, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._begun = state

    def __len__(self) -> int:
        return len(self.images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A generator, so that the order is asked for at the first batch, after Lightning has called set_epoch.
        is_begun = self._begun is not None and self._begun["epoch"] == self.sampler.epoch
        first = self._begun["batches"] if is_begun else 0
        for number, batch in enumerate(self._batches(first), first + 1):
            self._given = number
            yield batch

    def _batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches from number `first` on, counted from 0."""
        indices = self.sampler.indices().to(self.images.device)
        for chunk in indices.split(self.batch_size)[first : len(self)]:
            yield self.images.index_select(0, chunk), self.labels.index_select(0, chunk)


class MappedBatches(ShuffledBatches):
    """The same of images on disk, which a thread reads ahead while the batches before are trained on.

    Single images at random places are slow to read, so an epoch is shuffled twice: blocks of images that lie side by side
    come in random order, and groups of them, whole batches in all, are read and then shuffled image by image. Both orders are
    functions of (seed, epoch). Where all images fit into one group it is an ordinary shuffle.
    """

    images: MappedImages

    def _batches(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        if first >= len(self):
            return
        epoch = self.sampler.epoch
        per_group = max(1, round(GROUP / self.batch_size))
        last_group = (len(self) - 1) // per_group
        group, skipped = divmod(first, per_group)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading-ahead") as reader:
            places = self._places(epoch, group, per_group * self.batch_size)
            ahead = reader.submit(self.images.__getitem__, places)
            while True:
                images, labels = ahead.result(), self.labels.index_select(0, places.to(self.labels.device))
                draws = randomness.generator("cpu", self.sampler.seed, "order in group", epoch, group)
                order = torch.randperm(len(places), generator=draws).to(images.device)
                if group < last_group:
                    # The thread does nothing but this, with numpy: an operation of torch's in a second thread would have
                    # OpenMP start more threads than there are cores, and every later operation would take twice as long.
                    places = self._places(epoch, group + 1, per_group * self.batch_size)
                    ahead = reader.submit(self.images.__getitem__, places)
                for chunk in order.split(self.batch_size)[skipped : len(order) // self.batch_size]:
                    yield images.index_select(0, chunk), labels.index_select(0, chunk)
                if group == last_group:
                    return
                group, skipped = group + 1, 0

    def _places(self, epoch: int, group: int, group_size: int) -> Tensor:
        """Which images a group has, ascending, so that each block is read from its beginning to its end."""
        num_images = len(self.images)
        draws = randomness.generator("cpu", self.sampler.seed, "order of blocks", epoch)
        blocks = torch.randperm(-(-num_images // BLOCK), generator=draws)
        place = torch.arange(group * group_size, min((group + 1) * group_size, num_images))
        # The last block may lack some images; what comes after it moves up.
        lacking = -num_images % BLOCK
        shortened = (blocks == len(blocks) - 1).nonzero().item()
        place += lacking * (place >= (shortened + 1) * BLOCK - lacking)
        return (blocks[place // BLOCK] * BLOCK + place % BLOCK).sort().values


def pixels(images: Tensor) -> Tensor:
    """uint8 (B, 784) -> float32 in [0, 1]."""
    return images.float().div_(255)
