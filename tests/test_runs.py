"""Run folders from the outside: what is refused, and how."""

import pytest
import torch
from conftest import make_config
from safetensors.torch import save_file

import vaegan
from vaegan.errors import UserError
from vaegan.model import VAEGAN
from vaegan.runs import RunFolder


@pytest.fixture
def folder(tmp_path) -> RunFolder:
    """A run folder with an untrained model."""
    config = make_config("data=digits", "model.latent_dim=3")
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.write_config(config)
    save_file(VAEGAN(config.model, config.objective).state_dict(), run.model)
    return run


def test_config_comes_back_as_it_was(folder):
    assert folder.read_config() == make_config("data=digits", "model.latent_dim=3")


def test_metrics_come_back_with_every_digit(folder):
    rows = [{"epoch": 1, "step": 15, "train/loss": 0.1 + 0.2}, {"epoch": 2, "step": 30, "train/loss": 1e-17 / 3}]
    folder.write_metrics(rows)
    assert folder.read_metrics() == rows


def test_not_a_run_folder(tmp_path):
    with pytest.raises(UserError, match="is not a run folder: it has no config.yaml"):
        vaegan.load_run(tmp_path)


def test_a_near_miss_is_answered_with_the_run_folder(folder):
    folder.last.parent.mkdir()
    folder.last.touch()
    for path in (folder.path.parent, folder.last):
        with pytest.raises(UserError, match=f"did you mean {folder.path}\\?"):
            vaegan.load_run(path)


def test_unfinished_run(folder):
    folder.model.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors does not exist; the run has not finished"):
        vaegan.load_run(folder.path)


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"", lambda data: b"not tensors at all"])
def test_damaged_weights_name_the_file(folder, damage):
    folder.model.write_bytes(damage(folder.model.read_bytes()))
    with pytest.raises(UserError, match=r"model\.safetensors is not a readable"):
        vaegan.load_run(folder.path)


def test_weights_of_another_run(folder):
    folder.write_config(make_config("data=digits", "model.latent_dim=5"))
    with pytest.raises(UserError, match="does not fit"):
        vaegan.load_run(folder.path)


@pytest.mark.parametrize("text", ["model: [", "just text", "model:\n  latent_dim: many\n"])
def test_damaged_config_names_the_file(folder, text):
    folder.config.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        vaegan.load_run(folder.path)


def test_a_checkpoint_that_would_execute_something_is_refused(folder, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    folder.last.parent.mkdir()
    torch.save({"state_dict": Payload()}, folder.last)
    with pytest.raises(UserError, match=r"last\.ckpt is not a readable checkpoint"):
        vaegan.load_run(folder.path, "last")
    assert not (tmp_path / "executed").exists()


def test_a_config_is_data(folder, tmp_path):
    """Neither _target_ nor an interpolation in a config.yaml does anything."""
    text = folder.config.read_text()
    folder.config.write_text(
        text.replace("latent_dim: 3", f"latent_dim: {{_target_: builtins.open, file: {tmp_path}/x}}")
    )
    with pytest.raises(UserError, match=r"model\.latent_dim must be a whole number"):
        folder.read_config()
    folder.config.write_text(text.replace("latent_dim: 3", "latent_dim: ${oc.env:HOME}"))
    with pytest.raises(UserError, match=r"model\.latent_dim must be a whole number"):
        folder.read_config()
