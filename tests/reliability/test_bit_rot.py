"""Files that are no longer what was written."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs_compared import assert_same_training
from safetensors.torch import save_file

import vaegan
from vaegan.errors import UserError
from vaegan.runs import RunFolder
from vaegan.sealed import load_checkpoint, load_weights

ONE = ("objective=vae", "model.latent_dim=2", "logger.tensorboard=false", "logger.images_every_n_epochs=99")


def test_every_damage_of_a_file_is_noticed(run_digits, scenario, trials, tmp_path):
    folder = run_digits(*ONE, "data.num_val=300")
    files: dict[Path, Callable] = {
        folder.last: load_checkpoint,
        folder.best: load_checkpoint,
        folder.model: load_weights,
    }
    random_ = random.Random(0)
    with scenario("3 Bit rot: one flipped bit") as t:
        for trial in range(trials(60, 1000)):
            path, load = list(files.items())[trial % len(files)]
            content = bytearray(path.read_bytes())
            position = random_.randrange(len(content))
            content[position] ^= 1 << random_.randrange(8)
            t.trial(refused(load, content, path, tmp_path), f"{path.name}, byte {position}")
    with scenario("3 Bit rot: cut off, empty, longer, foreign") as t:
        for path, load in files.items():
            content = path.read_bytes()
            for _ in range(trials(5, 50)):
                size = random_.randrange(len(content))
                t.trial(refused(load, content[:size], path, tmp_path), f"{path.name}, {size} bytes")
            for damage in (
                b"",
                b"\0" * 1000,
                content + b"\0",
                content * 2,
                content[:-1],
                content[1:],
                b"PK\x05\x06" + b"\0" * 18,
            ):
                t.trial(refused(load, damage, path, tmp_path), f"{path.name}, {damage[:20]!r}")
            foreign = folder.model if path != folder.model else folder.last
            t.trial(refused(load, foreign.read_bytes(), path, tmp_path), f"{path.name}, {foreign.name}")
            t.trial(refused(load, folder.config.read_bytes(), path, tmp_path), f"{path.name}, config.yaml")


def refused(load: Callable, content: bytes, path: Path, tmp_path: Path) -> bool:
    """Is the damaged content refused in a sentence that names the file?"""
    damaged = tmp_path / path.name
    damaged.write_bytes(content)
    try:
        load(damaged)
    except UserError as error:
        return str(damaged) in str(error)
    return False


def test_every_door_refuses_a_damaged_file(run_digits, scenario):
    folder = run_digits(*ONE, "trainer.max_epochs=1", "data.num_val=300")
    with scenario("3 Bit rot: every door refuses the file") as t:
        for name, path in (("model", folder.model), ("last", folder.last), ("best", folder.best)):
            content = path.read_bytes()
            damaged = bytearray(content)
            damaged[len(damaged) // 2] ^= 1
            path.unlink()  # best may be the same file as last
            path.write_bytes(damaged)
            doors = [lambda: vaegan.load_run(folder.path, name)]  # noqa: B023
            if name == "last":
                doors.append(lambda: run_digits(f"train.resume={folder}", "trainer.max_epochs=2"))
            for door in doors:
                with pytest.raises(UserError, match=rf"{path.name} is damaged: its SHA-256") as refusal:
                    door()
                t.trial(True, refusal)
            path.write_bytes(content)
        assert vaegan.load_run(folder.path, "last") is not None


def test_the_checkpoint_before_the_last_is_used_on_request(run_digits, scenario):
    with scenario("3 Bit rot: the checkpoint before it, on request") as t:
        whole = run_digits(*ONE, "trainer.max_epochs=3", folder="whole")
        part = run_digits(*ONE, folder="part")
        content = bytearray(part.last.read_bytes())
        content[100] ^= 1
        part.last.write_bytes(content)
        with pytest.raises(UserError, match=r"go on from another checkpoint with train\.checkpoint=previous"):
            run_digits(f"train.resume={part}", "trainer.max_epochs=3")
        run_digits(f"train.resume={part}", "trainer.max_epochs=3", "train.checkpoint=previous")
        assert_same_training(whole, part)
        assert part.read_config().train.checkpoint == "last"  # only this once
        t.trial(True)


def test_a_seal_taken_off_is_missed(run_digits, tmp_path):
    """A file of today without its digest must not pass for one of 0.1, which had none."""
    folder = run_digits(*ONE, "trainer.max_epochs=1")
    content = folder.last.read_bytes()
    length = content.index(b"vaegan sha256 ")
    bare = tmp_path / "bare.ckpt"
    bare.write_bytes(content[: length - 2] + b"\0\0")
    assert torch.load(bare, weights_only=True)["vaegan_version"] == vaegan.__version__
    with pytest.raises(UserError, match=r"bare\.ckpt is damaged: the SHA-256 at its end is missing"):
        load_checkpoint(bare)


# Versions -------------------------------------------------------------------------------------------------------------


def test_a_run_of_0_1_is_loaded_and_gone_on_with(run_digits, tmp_path):
    shutil.copytree(Path(__file__).parent / "run_of_0.1", tmp_path / "old")
    folder = RunFolder(tmp_path / "old")
    model = vaegan.load_run(folder.path)
    last = vaegan.load_run(folder.path, "last").state_dict()
    assert all(torch.equal(tensor, last[name]) for name, tensor in model.state_dict().items())
    before = folder.read_metrics()
    run_digits(f"train.resume={folder}", "trainer.max_epochs=3")
    rows = folder.read_metrics()
    assert rows[:2] == before
    assert [row["step"] for row in rows] == [12, 24, 36] and rows[2]["test/loss"] < rows[1]["test/loss"]


@pytest.mark.parametrize("kind", ["checkpoint", "weights"])
def test_a_file_of_a_later_version_is_refused_and_the_version_named(kind, run_digits, monkeypatch):
    monkeypatch.setattr("vaegan.sealed.__version__", "0.9.1")
    folder = run_digits(*ONE, "trainer.max_epochs=1")
    monkeypatch.undo()
    path, load = (folder.last, load_checkpoint) if kind == "checkpoint" else (folder.model, load_weights)
    with pytest.raises(UserError, match=rf"written by vaegan 0\.9\.1, and this is {vaegan.__version__}; install that"):
        load(path)


def test_weights_of_another_making_are_read_without_a_digest(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "other.safetensors")
    assert torch.equal(load_weights(tmp_path / "other.safetensors")["a"], torch.ones(2))
