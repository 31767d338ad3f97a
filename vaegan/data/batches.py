"""The loader: batches gathered from images that are held once, as uint8, where the model computes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vaegan import randomness

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

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int):
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

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, order: EpochOrder):
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
        indices = self.sampler.indices().to(self.images.device)
        is_begun = self._begun is not None and self._begun["epoch"] == self.sampler.epoch
        first = self._begun["batches"] if is_begun else 0
        for number, chunk in enumerate(indices.split(self.batch_size)[first : len(self)], first + 1):
            self._given = number
            yield self.images.index_select(0, chunk), self.labels.index_select(0, chunk)


def pixels(images: Tensor) -> Tensor:
    """uint8 (B, 784) -> float32 in [0, 1]."""
    return images.float().div_(255)
