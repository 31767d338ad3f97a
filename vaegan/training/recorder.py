"""What is kept of a run, once an epoch: the row in metrics.csv, the line on the screen, TensorBoard, status, checkpoints."""

import math
import os
import platform
import signal
import subprocess
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from vaegan import __version__, config
from vaegan.errors import UserError
from vaegan.runs import Plan
from vaegan.training.checkpoints import keep_as
from vaegan.training.screen import Screen

_PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "numpy", "safetensors")

# (heading, metric, width) of the epoch's line.
_COLUMNS = (
    ("train", "train/loss", 8),
    ("val", "val/loss", 8),
    ("test", "test/loss", 8),
    ("recon", "train/reconstruction", 8),
    ("kl", "train/kl", 7),
    ("advers", "train/adversarial", 7),
    ("D loss", "train/discriminator_loss", 7),
    ("D(x)", "train/d_real", 6),
    ("D(fake)", "train/d_fake", 8),
)


class Recorder(Checkpoint):
    """Records each epoch in an order that a crash cannot contradict: rows first, then the checkpoint that covers them.

    Lightning calls `Checkpoint` callbacks last, when the module's metrics of the epoch are complete.
    """

    def __init__(self, plan: Plan, screen: Screen, facts: dict[str, Any]):
        self.plan = plan
        self.folder = plan.folder
        self.screen = screen
        self.rows: list[dict[str, Any]] = []
        self.best = math.inf
        self.stopped_by: signal.Signals | None = None
        self._has_heading = False
        self.status: dict[str, Any] = {
            "state": "running",
            "experiment": plan.experiment,
            "overrides": plan.overrides,
            "epoch": 0,
            "max_epochs": plan.config.trainer.max_epochs,
            "started": datetime.now().astimezone().isoformat(timespec="seconds"),
            "epoch_seconds": [],
            "metrics": {},
            "error": None,
            **facts,
            "host": platform.node(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "versions": {"vaegan": __version__} | {package: version(package) for package in _PACKAGES},
            "revision": git_revision(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "rows": self.rows, "epoch_seconds": self.status["epoch_seconds"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The checkpoint is the truth: metrics.csv is written anew from the rows that it covers."""
        self.best = state_dict["best"]
        self.rows = state_dict["rows"]
        self.status["epoch_seconds"] = state_dict["epoch_seconds"]
        if self.rows:
            last = self.rows[-1]
            self.status["epoch"] = last["epoch"]
            self.status["metrics"] = {name: value for name, value in last.items() if name not in ("epoch", "step")}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.status["epoch"] = trainer.current_epoch
        self._write_status()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The HParams tab: the options beside the last epoch's numbers, written once they are known."""
        if trainer.logger is not None:
            options = config.flatten(config.to_dict(self.plan.config))
            options = {name: str(value) if isinstance(value, list) else value for name, value in options.items()}
            metrics = {f"hp/{name.replace('/', '_')}": value for name, value in pl_module.metrics.items()}
            trainer.logger.log_hyperparams(options, metrics, step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True  # max_steps alone would end the epoch without its evaluation

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch_started = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        for name, value in pl_module.metrics.items():
            if not math.isfinite(value):
                kept = f"the checkpoint of epoch {epoch - 1} is kept" if epoch > 1 else "there is no checkpoint yet"
                raise UserError(
                    f"{name} is {value} after epoch {epoch}, so training stops; {kept}; try a lower learning rate."
                )
        seconds = time.monotonic() - self._epoch_started
        self.rows.append({"epoch": epoch, "step": trainer.global_step} | pl_module.metrics)
        self.folder.write_metrics(self.rows)
        if trainer.logger is not None:
            trainer.logger.log_metrics(pl_module.metrics, step=trainer.global_step)
        self._print_row(epoch, pl_module.metrics, seconds)
        self.status["epoch"] = epoch
        self.status["epoch_seconds"] = [*self.status["epoch_seconds"], round(seconds, 3)]
        self.status["metrics"] = pl_module.metrics

        score = pl_module.metrics.get("val/loss", math.inf)
        improved = score < self.best
        if improved:
            self.best = score
        trainer.save_checkpoint(self.folder.last)
        if improved:
            keep_as(self.folder.last, self.folder.best)
        self._write_status()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt):
            self.stopped_by = signal.SIGINT
        elif isinstance(exception, SIGTERMException):
            self.stopped_by = signal.SIGTERM

    def finish(self, state: str, error: str | None = None) -> None:
        """Write the last status; `state` is finished, interrupted or failed."""
        self.status |= {"state": state, "error": error}
        self._write_status()

    def _write_status(self) -> None:
        self.folder.write_status(self.status)

    def _print_row(self, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        columns = [column for column in _COLUMNS if column[1] in metrics]
        if not self._has_heading:
            self.screen.line("  epoch" + "".join(f"{heading:>{width}}" for heading, _, width in columns) + "   seconds")
            self._has_heading = True
        cells = "".join(f"{metrics[metric]:>{width}.2f}" for _, metric, width in columns)
        self.screen.line(f"{epoch:>4}/{self.plan.config.trainer.max_epochs:<2}{cells}{seconds:>10.1f}")


def git_revision() -> str | None:
    """The commit vaegan runs from, with "+changes" if the files differ from it; None outside a git checkout."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", "-C", folder, *arguments), capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
