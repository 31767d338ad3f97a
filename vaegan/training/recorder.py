"""What is kept of a run, once an epoch: the row in metrics.csv, the line on the screen, TensorBoard, status, checkpoints."""

import contextlib
import math
import os
import platform
import subprocess
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import Checkpoint

from vaegan import __version__, config
from vaegan.errors import UserError
from vaegan.runs import Plan
from vaegan.training.checkpoints import keep_as
from vaegan.training.module import VAEGANModule
from vaegan.training.screen import Screen
from vaegan.training.signals import Signals

_SECONDS_BETWEEN_CHECKS = 10.0
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


class MaxSteps(Callback):
    """Ends training after trainer.max_steps batches, with the epoch's evaluation (Lightning's max_steps alone skips it)."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: VAEGANModule, *_: object) -> None:
        if trainer.global_step == trainer.max_steps:
            trainer.should_stop = True


class Recorder(Checkpoint):
    """Records each epoch in an order that a crash cannot contradict: rows first, then the checkpoint that covers them.

    There is a checkpoint after every epoch, after some minutes of a long one, and where a signal stops the run; none of a
    model that is not finite. Lightning calls `Checkpoint` callbacks last, when the module's metrics of the epoch are
    complete.
    """

    def __init__(self, plan: Plan, screen: Screen, signals: Signals, facts: dict[str, Any]):
        self.plan = plan
        self.folder = plan.folder
        self.screen = screen
        self.signals = signals
        self.rows: list[dict[str, Any]] = []
        self.best = math.inf
        self._is_best = False  # the model that is being saved
        self.has_begun = False
        self._has_heading = False
        self._seconds_before = 0.0  # of this epoch, before the run was stopped inside it
        self.status: dict[str, Any] = {
            "state": "running",
            "experiment": plan.experiment,
            "overrides": plan.overrides,
            "epoch": 0,
            "step": 0,
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
        return {
            "best": self.best,
            "rows": self.rows,
            "epoch_seconds": self.status["epoch_seconds"],
            "seconds_of_epoch": self._seconds_of_epoch(),
            "is_best": self._is_best,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The checkpoint is the truth: metrics.csv is written anew from the rows that it covers."""
        self.best = state_dict["best"]
        self.rows = state_dict["rows"]
        self.status["epoch_seconds"] = state_dict["epoch_seconds"]
        self._seconds_before = state_dict.get("seconds_of_epoch", 0.0)
        if state_dict.get("is_best"):  # a kill may have come before best.ckpt was written
            keep_as(self.plan.checkpoint, self.folder.best)
        if self.rows:
            last = self.rows[-1]
            self.status["epoch"] = last["epoch"]
            self.status["metrics"] = {name: value for name, value in last.items() if name not in ("epoch", "step")}

    def on_train_start(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        self.has_begun = True
        self._epoch_started = self._checked = self._saved = time.monotonic()
        self.status |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
        if self.rows:
            self.folder.write_metrics(self.rows)
        else:
            self.folder.metrics.unlink(missing_ok=True)
        self._write_status()
        self.signals.wait()

    def on_train_end(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        """The HParams tab: the options beside the last epoch's numbers, written once they are known."""
        if trainer.logger is not None:
            options = config.flatten(config.to_dict(self.plan.config))
            options = {name: str(value) if isinstance(value, list) else value for name, value in options.items()}
            metrics = {f"hp/{name.replace('/', '_')}": value for name, value in pl_module.metrics.items()}
            trainer.logger.log_hyperparams(options, metrics, step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: VAEGANModule, *_: object) -> None:
        if trainer.should_stop or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return  # the epoch's own checkpoint is next
        now = time.monotonic()
        if self.signals.received or now - self._saved > 60 * self.plan.config.train.minutes_between_checkpoints:
            self._save(trainer, pl_module)
            self._write_status()
            self.signals.raise_received()
        elif now - self._checked > _SECONDS_BETWEEN_CHECKS:
            self._check(pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        self._epoch_started = time.monotonic()
        self._seconds_before = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        self._check(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        epoch = trainer.current_epoch + 1
        for name, value in pl_module.metrics.items():
            if not math.isfinite(value):
                raise self._diverged(
                    f"{name} is {value} after epoch {epoch}, so training stops; try a lower learning rate."
                )
        seconds = self._seconds_of_epoch()
        self.rows.append({"epoch": epoch, "step": trainer.global_step} | pl_module.metrics)
        self.folder.write_metrics(self.rows)
        if trainer.logger is not None:
            trainer.logger.log_metrics(pl_module.metrics, step=trainer.global_step)
        self._print_row(epoch, pl_module.metrics, seconds)
        self.status["epoch"] = epoch
        self.status["epoch_seconds"] = [*self.status["epoch_seconds"], round(seconds, 3)]
        self.status["metrics"] = pl_module.metrics

        score = pl_module.metrics.get("val/loss", math.inf)
        self._is_best = score < self.best
        self.best = min(score, self.best)
        self._save(trainer, pl_module)
        if self._is_best:
            keep_as(self.folder.last, self.folder.best)
            self._is_best = False
        self._write_status()
        self.signals.raise_received()

    def finish(self, state: str, error: str | None = None) -> None:
        """Write the last status; `state` is finished, interrupted or failed. After a failure perhaps it cannot be written."""
        self.status |= {"state": state, "error": error}
        with contextlib.nullcontext() if state == "finished" else contextlib.suppress(OSError):
            self._write_status()

    def _save(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        self._check(pl_module, weights=True)
        if self.folder.last.exists():
            keep_as(self.folder.last, self.folder.previous)
        trainer.save_checkpoint(self.folder.last)
        self.status["step"] = trainer.global_step
        self._saved = time.monotonic()

    def _check(self, pl_module: VAEGANModule, weights: bool = False) -> None:
        try:
            pl_module.check_finite(weights)
        except UserError as error:
            raise self._diverged(str(error)) from None
        self._checked = time.monotonic()

    def _diverged(self, sentence: str) -> UserError:
        step = self.status["step"]
        kept = f"the checkpoint of step {step} is kept" if self.folder.last.exists() else "there is no checkpoint yet"
        return UserError(f"{sentence.removesuffix('.')} ({kept}).")

    def _seconds_of_epoch(self) -> float:
        return self._seconds_before + time.monotonic() - self._epoch_started

    def _write_status(self) -> None:
        self.folder.write_status(self.status)

    def _print_row(self, epoch: int, metrics: dict[str, float], seconds: float) -> None:
        columns = [column for column in _COLUMNS if column[1] in metrics]
        if not self._has_heading:
            self.screen.line("  epoch" + "".join(f"{heading:>{width}}" for heading, _, width in columns) + "   seconds")
            self._has_heading = True
        cells = "".join(f"{metrics[metric]:>{width}.2f}" for _, metric, width in columns)
        self.screen.line(f"{epoch:>4}/{self.plan.config.trainer.max_epochs:<2}{cells}{seconds:>10.1f}")


def git_revision(package: Path = Path(__file__).parents[1]) -> str | None:
    """The commit that `package` runs from, with "+changes" if its files differ from it; None if no commit has it.

    (What is installed in an environment inside a checkout of something else is no part of that.)
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ("git", "-C", package, *arguments), capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        revision, _ = git("rev-parse", "HEAD", "HEAD:./__init__.py").split()
        return revision + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
