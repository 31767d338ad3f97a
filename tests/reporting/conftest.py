"""Run folders with made-up numbers, for what only reads them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_config

from vaegan.reporting import grids
from vaegan.runs import RunFolder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Writes a run folder below tmp_path/sweep: overrides, its test losses by epoch, a state, and its evaluation's groups."""

    def make(
        name: str,
        *overrides: str,
        losses=(200.0, 150.0),
        state: str = "finished",
        evaluation: dict[str, dict] | None = None,
        **status: object,
    ) -> RunFolder:
        folder = RunFolder(tmp_path / "sweep" / name)
        folder.images.mkdir(parents=True)
        run_config = make_config(f"trainer.max_epochs={len(losses)}", *overrides)
        folder.write_config(run_config)
        rows = [
            {
                "epoch": epoch,
                "step": 30 * epoch,
                "train/loss": loss + 12,
                "train/reconstruction": loss - 20,
                "train/kl": 30.0,
                "test/loss": loss,
                "test/kl": 20.0,
            }
            for epoch, loss in enumerate(losses, start=1)
        ]
        folder.write_metrics(rows)
        folder.write_status(
            {
                "state": state,
                "error": None,
                "epoch": len(rows),
                "max_epochs": len(rows),
                "epoch_seconds": [4.0] * len(rows),
                "metrics": {name: value for name, value in rows[-1].items() if "/" in name},
                "device": "cpu, 2 threads",
                "versions": {"torch": "2.14.1"},
                "revision": "0123456789abcdef",
            }
            | status
        )
        for row in rows:
            images = np.full((12, 784), row["epoch"], np.uint8)
            pictures = {"input": images, "reconstructed": images}
            grids.save(
                grids.draw_rows(pictures),
                folder.images / f"reconstructions_epoch_{row['epoch']:04d}.png",
                list(pictures),
            )
        if run_config.model.latent_dim == 2:
            codes = np.random.default_rng(run_config.seed).normal(size=(300, 2)).astype(np.float32)
            np.savez(folder.codes, mu=codes, labels=np.arange(300, dtype=np.uint8) % 10)
        if evaluation is not None:
            folder.evaluation.mkdir()
            folder.evaluation_metrics.write_text(json.dumps({"vaegan": "0.1.0", "groups": evaluation}))
        return folder

    return make
