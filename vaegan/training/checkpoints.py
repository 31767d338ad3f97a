"""Checkpoints: tensors and plain values only, written whole or not at all, never unpickled."""

import os
import shutil
from pathlib import Path
from typing import Any

from lightning_fabric.plugins import CheckpointIO

from vaegan import config
from vaegan.errors import UserError
from vaegan.files import replacing
from vaegan.runs import Plan
from vaegan.sealed import Damaged, load_checkpoint, save_checkpoint


class WholeFileIO(CheckpointIO):
    """Lightning's checkpoint reading and writing, made safe.

    Lightning's own stages the file in $TMPDIR, and where that is another file system a kill leaves a corrupt checkpoint;
    and it would unpickle a file that is not plain tensors.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        save_checkpoint(checkpoint, Path(path))

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """The checkpoint at `path`, on the CPU; the other arguments are there for Lightning and change nothing."""
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def check_checkpoint(plan: Plan) -> int:
    """The step of the checkpoint that `plan` goes on from.

    Raises:
        UserError: it is damaged, was made with other settings than the plan's, or is past the plan's last epoch or step.
    """
    path, folder = plan.checkpoint, plan.folder
    try:
        checkpoint = load_checkpoint(path, mmap=True)
    except Damaged as error:
        others = folder.other_checkpoints(path)
        hint = f" go on from another checkpoint with train.checkpoint={others[0]}." if others else ""
        raise Damaged(f"{error}{hint}") from error
    try:
        rows, step, epoch = (
            checkpoint["callbacks"]["Recorder"]["rows"],
            checkpoint["global_step"],
            checkpoint["epoch"] + 1,
        )
        is_inside_epoch = not rows or rows[-1]["step"] != step
        stored = config.flatten(checkpoint["config"])
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a checkpoint of a run of vaegan; put the right file there.") from error
    wanted = config.flatten(config.to_dict(plan.config))
    for name in wanted:
        if not config.is_changeable(name) and stored.get(name) != wanted[name]:
            raise UserError(
                f"{path} was made with {name}={stored.get(name)!r}, not {wanted[name]!r} as {folder.config} says; "
                f"one of the two belongs to another run."
            )
    trainer = plan.config.trainer
    if epoch > trainer.max_epochs:
        raise UserError(f"trainer.max_epochs is {trainer.max_epochs}, but {path} is of epoch {epoch}; give it more.")
    if trainer.max_steps is not None and step + is_inside_epoch > trainer.max_steps:
        raise UserError(f"trainer.max_steps is {trainer.max_steps}, but {path} is of step {step}; give it more.")
    return step


def keep_as(existing: Path, name: Path) -> None:
    """Make `name` the same file as `existing`, atomically; what replaces `existing` later leaves `name` alone."""
    with replacing(name) as temporary:
        try:
            os.link(existing, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(existing, temporary)
