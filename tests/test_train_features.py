"""`python -m vaegan.train_features`: the file it writes, what it says of it, and how it answers mistakes."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from vaegan import train_features
from vaegan.data import sources
from vaegan.evaluation import features


def answer(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    """Of a command that must not need torch: where it is imported, the command fails."""
    code = (
        "import runpy, sys; sys.modules['torch'] = None; runpy.run_module('vaegan.train_features', run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_help_tells_the_data_sets_without_torch(tmp_path):
    done = answer("--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m vaegan.train_features" in done.stdout
    for name in ("mnist", "fashion_mnist", "kmnist", "digits"):
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["cifar"], "there is no data set 'cifar'; choose one of mnist, fashion_mnist, kmnist, digits."),
        (["digits", "--out", "nowhere/x"], "nowhere is not a folder; choose another --out."),
        (["digits", "--out", "."], ". is a folder; choose another --out."),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_without_torch(tmp_path, arguments, told):
    done = answer(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"vaegan: {told}\n")
    assert not list(tmp_path.iterdir())


def test_what_it_says_is_true_of_the_file_that_it_writes(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "_NUM_STEPS", 2)
    monkeypatch.setattr(sys, "argv", ["train_features", "digits", "--seed", "5"])
    train_features.main()
    said = capsys.readouterr().out
    path = Path("feature_network_digits.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert str(path) in said
    assert f"{path.stat().st_size:,} bytes" in said
    assert re.search(r"\b[0-9a-f]{64}\b", said).group() == hashlib.sha256(path.read_bytes()).hexdigest()

    network = features.FeatureNetwork().eval()
    network.load_state_dict(load_file(path))
    splits = sources.load("digits", None)
    share = features.accuracy(network, torch.from_numpy(splits.test_images), torch.from_numpy(splits.test_labels))
    assert f"{share:.2%} of" in said
    assert re.search(r"parameters +([\d,]+)", said).group(1) == f"{sum(p.numel() for p in network.parameters()):,}"
    assert features.serialise(network) == features.serialise(features.train("digits", None, seed=5)[0])
