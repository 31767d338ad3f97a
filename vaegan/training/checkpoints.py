"""Checkpoints: tensors and plain values only, written whole or not at all, never unpickled."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from vaegan.files import whole_file
from vaegan.runs import read_checkpoint


class WholeFileIO(CheckpointIO):
    """Lightning's checkpoint reading and writing, made safe.

    Lightning's own stages the file in $TMPDIR, and where that is another file system a kill leaves a corrupt checkpoint;
    and it would unpickle a file that is not plain tensors.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with whole_file(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`, on the CPU; the other arguments are there for Lightning and change nothing."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def keep_as(existing: Path, name: Path) -> None:
    """Make `name` the same file as `existing`, atomically and without a copy; what replaces `existing` leaves it alone."""
    temporary = name.with_name(f".{name.name}.part")
    temporary.unlink(missing_ok=True)
    os.link(existing, temporary)
    os.replace(temporary, name)
