"""The network that judges generated images: the shipped one on real MNIST, and trained and kept ones on digits."""

import hashlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.errors import UserError
from vaegan.evaluation import features

NUM_STEPS = 2


@pytest.fixture(scope="module")
def mnist_test() -> tuple[Tensor, Tensor]:
    splits = sources.load("mnist", None)
    return torch.from_numpy(splits.test_images), torch.from_numpy(splits.test_labels)


@pytest.fixture(scope="module")
def shipped() -> features.FeatureNetwork:
    return features.load("mnist", None, "cpu")


@pytest.fixture
def short(monkeypatch):
    """Trainings of a fraction of a second. What they give is kept under another name, as that of any other recipe is."""
    monkeypatch.setattr(features, "_NUM_STEPS", NUM_STEPS)


@pytest.fixture(scope="module")
def trained_root(tmp_path_factory) -> Path:
    """A root where the network of a short training on digits is kept."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "_NUM_STEPS", NUM_STEPS)
        features.load("digits", root, "cpu")
    return root


@pytest.fixture
def root(short, trained_root, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(trained_root, tmp_path / "root")


@pytest.fixture(scope="module")
def other() -> features.FeatureNetwork:
    """A network that training did not make."""
    return features.FeatureNetwork().eval()


def kept(root: Path) -> tuple[Path, Path]:
    """The one cached network of digits, and what is known of it."""
    (weights,) = (root / "feature_networks").glob("digits-*.safetensors")
    return weights, weights.with_suffix(".json")


def keep(network: features.FeatureNetwork, root: Path) -> None:
    """Put `network` where the cached one lies, with the right hash."""
    weights, facts = kept(root)
    weights.write_bytes(features.serialise(network))
    facts.write_text(json.dumps({"sha256": hashlib.sha256(weights.read_bytes()).hexdigest(), "test_accuracy": 0.5}))


# The shipped network


def test_the_shipped_network_knows_mnist(shipped, mnist_test):
    assert features.accuracy(shipped, *mnist_test) >= 0.992


def test_the_shipped_file_is_small():
    assert features.SHIPPED.stat().st_size < 1_000_000


def test_the_covariance_of_its_features_is_well_conditioned(shipped, mnist_test):
    found, _ = shipped(pixels(mnist_test[0][:2000]))
    variances = torch.linalg.eigvalsh(torch.cov(found.double().T))
    assert variances[-1] / variances[0] < 1e4


def test_what_is_known_of_an_image_does_not_depend_on_its_neighbours(shipped, mnist_test):
    images = pixels(mnist_test[0][:200])
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    for straight, permuted in zip(shipped(images), shipped(images[order]), strict=True):
        assert torch.equal(straight[order], permuted)
    assert torch.allclose(shipped(images)[0][:7], shipped(images[:7])[0], atol=1e-4)


def test_logits_are_linear_in_the_features_and_nothing_takes_gradients(shipped, mnist_test):
    found, logits = shipped(pixels(mnist_test[0][:50]))
    assert found.shape == (50, 64) and logits.shape == (50, 10)
    assert torch.allclose(found @ shipped.classes.weight.T + shipped.classes.bias, logits, atol=1e-4)
    assert not shipped.training and not logits.requires_grad
    assert (found < 0).any()  # not rectified


@pytest.mark.parametrize("fault", ["one bit", "missing"])
def test_a_wrong_shipped_file_is_refused_by_name(monkeypatch, tmp_path, fault):
    path = tmp_path / "mnist.safetensors"
    if fault == "one bit":
        content = bytearray(features.SHIPPED.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    monkeypatch.setattr(features, "SHIPPED", path)
    with pytest.raises(UserError, match=str(path)):
        features.load("mnist", None, "cpu")


# Networks that are trained when they are needed


def test_twenty_four_steps_teach_it_more_than_half_of_the_digits(monkeypatch):
    monkeypatch.setattr(features, "_NUM_STEPS", 24)
    _, share = features.train("digits", None)
    assert share > 0.5  # chance: 0.1; all 220 steps: 0.97


def test_the_seed_fixes_every_weight_and_the_callers_randomness_is_left_alone(short, root):
    before = torch.get_rng_state()
    again, other = (features.serialise(features.train("digits", None, seed)[0]) for seed in (0, 1))
    assert kept(root)[0].read_bytes() == again != other
    assert torch.equal(before, torch.get_rng_state())


def test_a_trained_network_is_kept_with_what_is_known_of_it(root):
    weights, facts = kept(root)
    network = features.load("digits", root, "cpu")
    splits = sources.load("digits", None)
    share = features.accuracy(network, torch.from_numpy(splits.test_images), torch.from_numpy(splits.test_labels))
    known = json.loads(facts.read_text())
    assert known == {
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "test_accuracy": share,
        "torch": torch.__version__,
    }
    assert features.serialise(network) == weights.read_bytes()
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_the_kept_network_is_the_one_that_is_loaded(root, other):
    keep(other, root)
    assert features.serialise(features.load("digits", root, "cpu")) == features.serialise(other)


@pytest.mark.parametrize(
    ("damaged", "content"),
    [(".safetensors", b""), (".safetensors", None), (".json", b"\xff"), (".json", b'["sha256"]'), (".json", b"{}")],
)
def test_a_damaged_kept_network_is_trained_anew(root, damaged, content):
    weights, facts = kept(root)
    right = weights.read_bytes(), facts.read_bytes()
    path = weights.with_suffix(damaged)
    path.unlink() if content is None else path.write_bytes(content)
    features.load("digits", root, "cpu")
    assert (weights.read_bytes(), facts.read_bytes()) == right


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_trains_where_gradients_are_off_as_in_a_validation(root, mode):
    weights, facts = kept(root)
    right = weights.read_bytes()
    facts.unlink()
    with mode():
        assert features.serialise(features.load("digits", root, "cpu")) == right


def test_another_recipe_has_another_file(root, monkeypatch):
    monkeypatch.setattr(features, "_LR", 1e-4)
    features.load("digits", root, "cpu")
    assert len(list((root / "feature_networks").glob("digits-*.safetensors"))) == 2


def test_who_waits_for_another_process_takes_the_network_that_it_trained(root, other):
    weights, facts = kept(root)
    facts.unlink()
    loaded = []
    waiting = threading.Thread(target=lambda: loaded.append(features.load("digits", root, "cpu")))
    with FileLock(weights.with_suffix(".lock")):
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        keep(other, root)
    waiting.join(60)
    assert features.serialise(loaded[0]) == features.serialise(other)


def test_a_root_that_cannot_hold_networks_is_named_before_anything_is_trained(tmp_path):
    root = tmp_path / "a file"
    root.touch()
    with pytest.raises(UserError, match=str(root)):
        features.load("digits", root, "cpu")


def test_an_unknown_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="no data set 'cifar'"):
        features.load("cifar", tmp_path, "cpu")


def test_images_are_shifted_down_and_right_with_background_coming_in():
    images = np.random.default_rng(0).random((3, 28, 28), dtype=np.float32)
    shifts = [(0, 0), (2, -1), (-2, 2)]
    expected = np.zeros_like(images)
    expected[0] = images[0]
    expected[1][2:, :-1] = images[1][:-2, 1:]
    expected[2][:-2, 2:] = images[2][2:, :-2]
    shifted = features._shift(torch.from_numpy(images).flatten(1), torch.tensor(shifts))
    assert np.array_equal(shifted.unflatten(1, (28, 28)).numpy(), expected)
