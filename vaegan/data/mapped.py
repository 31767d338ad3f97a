"""The user's own images, which may be more than memory holds: IDX files that stay on disk and are read where needed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaegan.data.idx import read_idx
from vaegan.errors import UserError

_HEADER_BYTES = 16  # of an IDX file of three dimensions


class MappedImages:
    """Images of an IDX file (N, 28, 28) in the place of a uint8 tensor (n, 784), for what the data are used for.

    An index or a slice reads, and gives a tensor on `device`. The file is mapped only for as long as that takes: so its pages
    do not add up in the process's memory, and a file that has become shorter is noticed before the missing part is touched,
    which would kill the process.

    Attributes:
        rows: which images of the file these are, ascending.
    """

    def __init__(self, path: Path, rows: range | np.ndarray, device: torch.device | str = "cpu"):
        self.path = path
        self.rows = rows
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | Tensor) -> Tensor:
        """The images of a slice or at places (n,), as uint8 (n, 784). Raises UserError if the file can't be read any more."""
        rows = self._rows(part)
        if len(rows) == 0:
            return torch.empty(0, 784, dtype=torch.uint8, device=self.device)
        try:
            shape = (int(rows[-1] if isinstance(rows, range) else rows.max()) + 1, 784)
            images = np.asarray(np.memmap(self.path, np.uint8, "r", _HEADER_BYTES, shape))
            # Either way a copy: torch.from_numpy wants to write.
            read = images[rows.start : rows.stop].copy() if isinstance(rows, range) else images[rows]
        except (OSError, ValueError) as error:  # ValueError: the file is shorter than what is to be mapped
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(
                f"{self.path} can no longer be read ({reason}); put the file back as it was, then start again."
            ) from error
        return torch.from_numpy(read).to(self.device)

    def split(self, size: int) -> Iterator[Tensor]:
        return (self[start : start + size] for start in range(0, len(self), size))

    def to(self, device: torch.device | str) -> "MappedImages":
        """The same images, to be read onto `device`."""
        return MappedImages(self.path, self.rows, device)

    def only(self, part: slice | Tensor) -> "MappedImages":
        """The images of a slice or at places (n,); none is read."""
        return MappedImages(self.path, self._rows(part), self.device)

    def _rows(self, part: slice | Tensor) -> range | np.ndarray:
        if isinstance(part, slice):
            return self.rows[part]
        places = part.cpu().numpy()
        return places + self.rows.start if isinstance(self.rows, range) else self.rows[places]


Images = Tensor | MappedImages


def load(root: Path, num_images: int) -> tuple[tuple[MappedImages, Tensor], tuple[MappedImages, Tensor]]:
    """The first `num_images` training images of the four IDX files in `root`, and all test images; labels (n,) int64.

    Only headers and labels are read. Raises UserError where a file is missing or not what its name says, where images and
    labels are not as many, and where there are fewer training images than asked for.
    """
    train, test = (_read(root, prefix) for prefix in ("train", "t10k"))
    available = len(train[1])
    if num_images > available:
        raise UserError(
            f"data.num_images is {num_images}, but {train[0].path} has only {available} images; choose at most that."
        )
    return (train[0].only(slice(num_images)), train[1][:num_images]), test


def _read(root: Path, prefix: str) -> tuple[MappedImages, Tensor]:
    images_path, labels_path = root / f"{prefix}-images-idx3-ubyte", root / f"{prefix}-labels-idx1-ubyte"
    shape, labels = _mapped(images_path).shape, _mapped(labels_path)
    if len(shape) != 3 or shape[1:] != (28, 28) or shape[0] == 0:
        raise UserError(
            f"{images_path} holds {' x '.join(map(str, shape))} values, where a number of images x 28 x 28 is expected; put the "
            "right file there."
        )
    if labels.shape != shape[:1]:
        raise UserError(
            f"{labels_path} holds {' x '.join(map(str, labels.shape))} labels, but {images_path} {shape[0]} images; put the "
            "two that belong together there."
        )
    return MappedImages(images_path, range(shape[0])), torch.from_numpy(labels.astype(np.int64))


def _mapped(path: Path) -> np.ndarray:
    """The array of an IDX file, read where it is touched. Raises UserError where there is no such file."""
    try:
        content = np.memmap(path, mode="r") if path.stat().st_size else b""  # nothing at all cannot be mapped
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): data=own needs this file, unpacked, in the folder data.root; put it "
            "there, or give another folder."
        ) from error
    return read_idx(content, str(path))
