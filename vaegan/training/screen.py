"""What a person sees while a run goes on: lines, and on a terminal a progress bar with the time left."""

import sys
import time

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_REFRESHES = 0.2


class Screen(Callback):
    """One bar over all batches of the run, refreshed by the clock, that reads no value from the device.

    Where stdout is not a terminal there is no bar, only the lines.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(highlight=False, emoji=False, soft_wrap=True, quiet=quiet)
        self._progress: Progress | None = None
        self._refreshed = 0.0

    def line(self, text: str = "") -> None:
        """Print one line (above the bar, if there is one)."""
        self.console.print(text, markup=False)
        sys.stdout.flush()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.console.is_terminal:
            return
        total = trainer.num_training_batches * trainer.max_epochs
        if trainer.max_steps > 0:
            total = min(total, trainer.max_steps)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("batches"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            auto_refresh=False,
            transient=True,
        )
        self._task = self._progress.add_task("training", total=total, completed=trainer.global_step)
        self._progress.start()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if self._progress is not None and time.monotonic() - self._refreshed > _SECONDS_BETWEEN_REFRESHES:
            self._show(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None:
            self._show("evaluating", trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _show(self, description: str, completed: int) -> None:
        self._progress.update(self._task, description=description, completed=completed)
        self._progress.refresh()
        self._refreshed = time.monotonic()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
