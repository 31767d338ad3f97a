import pytest
import torch

from vaegan.errors import UserError
from vaegan.training.checkpoints import WholeFileIO, keep_as


def test_written_whole_and_read_back(tmp_path):
    path = tmp_path / "last.ckpt"
    WholeFileIO().save_checkpoint({"state_dict": {"a": torch.arange(3)}, "epoch": 2}, path)
    WholeFileIO().save_checkpoint({"state_dict": {"a": torch.arange(4)}, "epoch": 3}, path)
    loaded = WholeFileIO().load_checkpoint(path)
    assert torch.equal(loaded["state_dict"]["a"], torch.arange(4))
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_lightning_cannot_ask_for_unpickling(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save(Payload(), tmp_path / "bad.ckpt")
    with pytest.raises(UserError, match=r"bad\.ckpt"):
        WholeFileIO().load_checkpoint(tmp_path / "bad.ckpt", weights_only=False)
    assert not (tmp_path / "executed").exists()


def test_best_outlives_the_last_it_was_made_from(tmp_path):
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    io = WholeFileIO()
    for epoch in (1, 2):
        io.save_checkpoint({"state_dict": {}, "epoch": epoch}, last)
        if epoch == 1:
            keep_as(last, best)
    assert (io.load_checkpoint(best)["epoch"], io.load_checkpoint(last)["epoch"]) == (1, 2)
    keep_as(last, best)
    assert io.load_checkpoint(best)["epoch"] == 2
