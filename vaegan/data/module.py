"""The LightningDataModule: a data set's images, split, in memory on the device that trains, or the user's own on disk."""

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from vaegan import config
from vaegan.data import mapped, sources
from vaegan.data.batches import EVALUATION_BATCH, Batches, EpochOrder, MappedBatches, ShuffledBatches
from vaegan.data.mapped import Images, MappedImages
from vaegan.errors import UserError


class ImageData(LightningDataModule):
    """Training, validation (if data.num_val > 0) and test images of one data set.

    The test images are all of them, a held-out class included. The images stay uint8; corruption and conversion to [0, 1]
    happen per batch, in the training step. Those of data=own stay on disk.
    """

    def __init__(self, data: config.Data, seed: int):
        super().__init__()
        self.data = data
        self.seed = seed
        self.splits: dict[str, tuple[Images, Tensor]] = {}

    def prepare_data(self) -> None:
        """Fetch the files if they are not there yet.

        Raises:
            UserError: a file is damaged, no source can be reached, or too few images are left without the held-out class.
        """
        if not self.splits:
            train, test = self._load()
            num_train, num_used = self.data.num_train, self.data.num_train + self.data.num_val
            self.splits["train"] = self._known(*train, slice(num_train))
            if self.data.num_val:
                self.splits["val"] = self._known(*train, slice(num_train, num_used))
            self.splits["test"] = test
            for split, smallest in (("train", self.data.batch_size), ("val", 1)):
                if split in self.splits and len(self.splits[split][0]) < smallest:
                    raise UserError(
                        f"data.held_out_class={self.data.held_out_class} leaves {len(self.splits[split][0])} images of "
                        f"{self.data.name} to {split}; choose a smaller data.batch_size or another data.num_val."
                    )

    def _load(self) -> tuple[tuple[Images, Tensor], tuple[Images, Tensor]]:
        """Images and labels for training, and for testing."""
        root = sources.root_folder(self.data.root)
        if self.data.name == "own":
            return mapped.load(root, self.data.num_images)
        images = sources.load(self.data.name, root)
        train = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels).long()
        return train, (torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels).long())

    def _known(self, images: Images, labels: Tensor, part: slice) -> tuple[Images, Tensor]:
        """The part of the training images, without the class that is held out."""
        images, labels = _only(images, part), labels[part]
        if self.data.held_out_class is None:
            return images, labels
        known = (labels != self.data.held_out_class).nonzero().squeeze(1)
        return _only(images, known), labels[known]

    @property
    def evaluation_splits(self) -> list[str]:
        """The splits evaluated after every epoch, in the order of val_dataloader()."""
        return [name for name in self.splits if name != "train"]

    def train_dataloader(self) -> ShuffledBatches:
        images, labels = self._on_device("train")
        kind = MappedBatches if isinstance(images, MappedImages) else ShuffledBatches
        return kind(images, labels, self.data.batch_size, EpochOrder(len(images), self.seed))

    def val_dataloader(self) -> list[Batches]:
        return [Batches(*self._on_device(split), EVALUATION_BATCH) for split in self.evaluation_splits]

    def _on_device(self, split: str) -> tuple[Images, Tensor]:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        images, labels = self.splits[split]
        return images.to(device), labels.to(device)


def _only(images: Images, part: slice | Tensor) -> Images:
    return images.only(part) if isinstance(images, MappedImages) else images[part]
