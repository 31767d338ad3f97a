"""What several tests need: a checked configuration from conf/, and a small real run on digits."""

import os
import sys

# The models are tiny: a second thread only waits, and on a busy machine for long. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from small_data import mirrors, small  # noqa: F401  (fixtures)

from vaegan import cli, config, runs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="every trial of tests/reliability instead of a few (40 minutes)"
    )
    parser.addoption("--table", metavar="FILE", help="write the table of tests/reliability to FILE")


def compose_values(*overrides: str) -> dict:
    """conf/config.yaml with overrides, as `python -m vaegan.train` composes it."""
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", list(overrides)), resolve=True)


def make_config(*overrides: str) -> config.Config:
    return config.check(compose_values(*overrides))


def make_plan(folder: Path, *overrides: str) -> runs.Plan:
    return runs.plan(cli.Composition(compose_values(*overrides), list(overrides), "test", folder))


SMALL = ("data=digits", "data.batch_size=100", "model.latent_dim=4", "trainer.max_epochs=2", "trainer.accelerator=cpu")


@pytest.fixture(autouse=True)
def _settings_of_torch():
    """A run sets torch's matmul precision and determinism for the whole process; no test may inherit another's."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_float32_matmul_precision("highest")
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture
def run_digits(tmp_path: Path) -> Callable[..., runs.RunFolder]:
    """Trains a small model on digits through the real command's code; overrides as on the command line."""
    from vaegan.train import train

    def run(*overrides: str, folder: str = "run") -> runs.RunFolder:
        resuming = any(override.startswith("train.resume=") for override in overrides)
        plan = make_plan(tmp_path / folder, *(() if resuming else SMALL), *overrides)
        train(plan)
        return plan.folder

    return run


def fit(module, *callbacks, max_epochs: int = 1, max_steps: int = -1):
    """Lightning's training of a VAEGANModule, without the run folder; returns the Trainer."""
    from pytorch_lightning import Trainer

    from vaegan.data.module import ImageData

    trainer = Trainer(
        max_epochs=max_epochs,
        max_steps=max_steps,
        accelerator="cpu",
        precision=module.config.trainer.precision,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, datamodule=ImageData(module.config.data, module.config.seed))
    return trainer
