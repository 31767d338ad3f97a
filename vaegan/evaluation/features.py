"""The network whose features and classes generated images are judged by: a small classifier of the data set at hand.

The one for MNIST is shipped, so that figures compare across machines; one for another data set is trained when it is first
needed and kept beside the data. Distances of different networks compare nothing.

weights/mnist.safetensors classifies 99.65 % of MNIST's test images right. It was made on 2026-11-23 with torch 2.14.1, two
threads of a CPU and

    python -m vaegan.train_features mnist --out vaegan/evaluation/weights/mnist.safetensors
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.nn import functional as F

from vaegan import randomness
from vaegan.data import sources
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.errors import UserError
from vaegan.files import write_whole

NUM_FEATURES = 64
NUM_CLASSES = 10
SHIPPED = Path(__file__).parent / "weights" / "mnist.safetensors"
SHIPPED_SHA256 = "a01f966228076beb1daa0f72ba686c8be1d1e9cdb8b3d0fbb4e308f04f27f3b4"

_NUM_STEPS = 3000
_BATCH = 128
_LR = 3e-3
_SHIFT = 2  # pixels, to every side
_RECIPE = 1  # counts what is not in the constants above; a network trained by another recipe is trained anew


class FeatureNetwork(nn.Module):
    """Images (B, 784) in [0, 1] -> features (B, 64) and class logits (B, 10), which are linear in them.

    The features are not rectified. Rectified, half of their values on MNIST would be 0 and their mean absolute skewness 1.2
    instead of 0.3, while a Fréchet distance takes them for Gaussian. Their covariance has a condition number of 1,400.
    """

    def __init__(self):
        super().__init__()
        self.convolutions = nn.Sequential(
            *_convolution(1, 16, stride=1),
            *_convolution(16, 32, stride=2),
            *_convolution(32, 32, stride=1),
            *_convolution(32, 64, stride=2),
            *_convolution(64, 64, stride=1),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.features = nn.Linear(64 * 3 * 3, NUM_FEATURES)
        self.classes = nn.Linear(NUM_FEATURES, NUM_CLASSES)
        self.to(memory_format=torch.channels_last)  # faster on a CPU

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(self.convolutions(x.unflatten(1, (1, 28, 28))))
        return features, self.classes(features)


def load(data_name: str, root: Path | None, device: torch.device | str) -> FeatureNetwork:
    """The network of a data set, in eval mode, its parameters without gradients.

    Args:
        root: of the data files, where a network that had to be trained is kept; None: the default one.

    Raises:
        UserError: the shipped file is not the one it should be, the data cannot be had, or a network cannot be kept.
    """
    content = _shipped() if data_name == "mnist" else _kept(data_name, root)
    network = FeatureNetwork()
    network.load_state_dict(from_bytes(content))
    return network.to(device).eval().requires_grad_(False)


@torch.inference_mode(False)  # a run's callbacks are called in inference mode, which enable_grad would not end
def train(
    data_name: str, root: Path | None, seed: int = 0, tick: Callable[[int, int], None] = lambda done, total: None
) -> tuple[FeatureNetwork, float]:
    """A trained network, in eval mode, and its accuracy on the test images.

    Args:
        tick: is told after each step how many of how many are done.
    """
    images = sources.load(data_name, root)
    x, labels = torch.from_numpy(images.train_images), torch.from_numpy(images.train_labels).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(randomness.key(seed, "feature weights"))
        network = FeatureNetwork()
    batch = min(_BATCH, len(x))
    steps = min(_NUM_STEPS, 20 * (len(x) // batch))
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LR, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps)
    for step, chosen in zip(range(steps), _batches(len(x), batch, seed), strict=False):
        draws = randomness.generator("cpu", seed, "feature shifts", step)
        shifted = _shift(pixels(x[chosen]), torch.randint(-_SHIFT, _SHIFT + 1, (batch, 2), generator=draws))
        loss = F.cross_entropy(network(shifted)[1], labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        tick(step + 1, steps)
    network.eval().requires_grad_(False)
    return network, accuracy(network, torch.from_numpy(images.test_images), torch.from_numpy(images.test_labels))


@torch.no_grad()
def accuracy(network: FeatureNetwork, images: Tensor, labels: Tensor) -> float:
    """Share of images (N, 784) uint8 whose class it finds."""
    predicted = torch.cat([network(pixels(part))[1].argmax(dim=1) for part in images.split(EVALUATION_BATCH)])
    return (predicted == labels).double().mean().item()


def serialise(network: FeatureNetwork) -> bytes:
    """The weights as a safetensors file."""
    return to_bytes({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def _convolution(num_in: int, num_out: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(inplace=True),
    ]


def _batches(num_images: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Indices of batch after batch, epoch after epoch, without end."""
    epoch = 0
    while True:
        order = torch.randperm(num_images, generator=randomness.generator("cpu", seed, "feature order", epoch))
        yield from order.split(batch)[: num_images // batch]
        epoch += 1


def _shift(x: Tensor, by: Tensor) -> Tensor:
    """Each image (B, 784) moved by its own (B, 2) whole pixels, down and right, 0 coming in."""
    padded = F.pad(x.unflatten(1, (28, 28)), [_SHIFT] * 4)
    rows = torch.arange(28) + _SHIFT - by[:, :1]  # (B, 28)
    columns = torch.arange(28) + _SHIFT - by[:, 1:]
    return padded[torch.arange(len(x))[:, None, None], rows[:, :, None], columns[:, None, :]].flatten(1)


def _shipped() -> bytes:
    try:
        content = SHIPPED.read_bytes()
    except OSError as error:
        raise UserError(f"{SHIPPED} cannot be read ({error.strerror}); install vaegan again.") from error
    if hashlib.sha256(content).hexdigest() != SHIPPED_SHA256:
        raise UserError(f"{SHIPPED} is not the file that vaegan ships (its SHA-256 differs); install vaegan again.")
    return content


def _kept(data_name: str, root: Path | None) -> bytes:
    """The weights that were trained for a data set here before; trained now if there are none or they are damaged.

    Raises:
        UserError: the folder for them cannot be written, or the data cannot be had.
    """
    recipe = f"{data_name} {_RECIPE} {_NUM_STEPS} {_BATCH} {_LR} {_SHIFT}"
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    folder = (sources.default_root() if root is None else root) / "feature_networks"
    weights, facts = folder / f"{data_name}-{digest}.safetensors", folder / f"{data_name}-{digest}.json"
    if (content := _undamaged(weights, facts)) is not None:
        return content
    # The jobs of a sweep all want it at once: one trains, the others wait for what it keeps.
    lock = FileLock(weights.with_suffix(".lock"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{folder}, where trained feature networks are kept, cannot be written ({reason}): make it writable, or give "
            "another root for the data (where none is given, VAEGAN_DATA names it)."
        ) from error
    try:
        if (content := _undamaged(weights, facts)) is None:
            network, share = train_with_progress(data_name, root)
            content = serialise(network)
            known = {"sha256": hashlib.sha256(content).hexdigest(), "test_accuracy": share, "torch": torch.__version__}
            write_whole(weights, content)
            write_whole(facts, json.dumps(known, indent=1) + "\n")
    finally:
        lock.release()
    return content


def _undamaged(weights: Path, facts: Path) -> bytes | None:
    """The kept weights if they have the SHA-256 that is kept beside them."""
    try:
        content = weights.read_bytes()
        if json.loads(facts.read_text())["sha256"] == hashlib.sha256(content).hexdigest():
            return content
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def train_with_progress(data_name: str, root: Path | None, seed: int = 0) -> tuple[FeatureNetwork, float]:
    """`train`, with the time left on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"training a feature network on {data_name}")
        return train(data_name, root, seed, lambda done, total: progress.update(task, completed=done, total=total))
