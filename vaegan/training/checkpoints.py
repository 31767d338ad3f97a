"""Checkpoints: tensors and plain values only, written whole or not at all, never unpickled."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import CheckpointIO

from vaegan import config
from vaegan.errors import UserError
from vaegan.files import replacing
from vaegan.runs import RunFolder, read_checkpoint


class WholeFileIO(CheckpointIO):
    """Lightning's checkpoint reading and writing, made safe.

    Lightning's own stages the file in $TMPDIR, and where that is another file system a kill leaves a corrupt checkpoint;
    and it would unpickle a file that is not plain tensors.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`, on the CPU; the other arguments are there for Lightning and change nothing."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def check_checkpoint(folder: RunFolder, run_config: config.Config) -> None:
    """Raises UserError if the last checkpoint of `folder` is damaged or was made with settings other than `run_config`'s."""
    stored = config.flatten(read_checkpoint(folder.last, mmap=True).get("config", {}))
    wanted = config.flatten(config.to_dict(run_config))
    for name in wanted:
        if not config.is_changeable(name) and stored.get(name) != wanted[name]:
            raise UserError(
                f"{folder.last} was made with {name}={stored.get(name)!r}, not {wanted[name]!r} as {folder.config} says; "
                f"one of the two belongs to another run."
            )


def keep_as(existing: Path, name: Path) -> None:
    """Make `name` the same file as `existing`, atomically; what replaces `existing` later leaves `name` alone."""
    with replacing(name) as temporary:
        try:
            os.link(existing, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(existing, temporary)
