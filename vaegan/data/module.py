"""The LightningDataModule: a data set's images in memory, split, on the device that trains."""

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from vaegan import config
from vaegan.data import sources
from vaegan.data.batches import EVALUATION_BATCH, Batches, EpochOrder, ShuffledBatches
from vaegan.errors import UserError


class ImageData(LightningDataModule):
    """Training, validation (if data.num_val > 0) and test images of one data set.

    The test images are all of them, a held-out class included. The images stay uint8; corruption and conversion to [0, 1]
    happen per batch, in the training step.
    """

    def __init__(self, data: config.Data, seed: int):
        super().__init__()
        self.data = data
        self.seed = seed
        self.splits: dict[str, tuple[Tensor, Tensor]] = {}

    def prepare_data(self) -> None:
        """Fetch the files if they are not there yet.

        Raises:
            UserError: a file is damaged, no source can be reached, or too few images are left without the held-out class.
        """
        if not self.splits:
            images = sources.load(self.data.name, sources.root_folder(self.data.root))
            train = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels).long()
            test = torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels).long()
            self.splits["train"] = self._known(*(part[: self.data.num_train] for part in train))
            if self.data.num_val:
                self.splits["val"] = self._known(*(part[self.data.num_train :] for part in train))
            self.splits["test"] = test
            for split, smallest in (("train", self.data.batch_size), ("val", 1)):
                if split in self.splits and len(self.splits[split][0]) < smallest:
                    raise UserError(
                        f"data.held_out_class={self.data.held_out_class} leaves {len(self.splits[split][0])} images of "
                        f"{self.data.name} to {split}; choose a smaller data.batch_size or another data.num_val."
                    )

    def _known(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Without the class that is held out."""
        if self.data.held_out_class is None:
            return images, labels
        known = labels != self.data.held_out_class
        return images[known], labels[known]

    @property
    def evaluation_splits(self) -> list[str]:
        """The splits evaluated after every epoch, in the order of val_dataloader()."""
        return [name for name in self.splits if name != "train"]

    def train_dataloader(self) -> ShuffledBatches:
        images, labels = self._on_device("train")
        return ShuffledBatches(images, labels, self.data.batch_size, EpochOrder(len(images), self.seed))

    def val_dataloader(self) -> list[Batches]:
        return [Batches(*self._on_device(split), EVALUATION_BATCH) for split in self.evaluation_splits]

    def _on_device(self, split: str) -> tuple[Tensor, Tensor]:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        images, labels = self.splits[split]
        return images.to(device), labels.to(device)
