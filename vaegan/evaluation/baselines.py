"""What a user would do about noise without a trained model: nothing, or a classical filter at its best setting.

A filter's setting is the one of a small grid with the least squared error on noisy training images, whose clean versions
it may see, as a model may. The numbers depend on no model, so they are kept in a file, under the digest of all that they
do depend on, the images' pixels included.
"""

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import scipy.ndimage
from filelock import FileLock
from torch import Tensor, from_numpy

from vaegan.data.sources import default_root
from vaegan.evaluation import restoration
from vaegan.evaluation.restoration import SIDE
from vaegan.evaluation.result import Metric, NotApplicable
from vaegan.files import write_whole

NUM_TRAINING = 500  # noisy training images, the first ones, that a setting is chosen on
_ROWS = 100  # images whose windows are held at once

Setting = dict[str, float]


def nothing(images: np.ndarray) -> np.ndarray:
    """The noisy images themselves."""
    return images


def gaussian_filter(images: np.ndarray, std: float) -> np.ndarray:
    """(N, 28, 28), blurred by a Gaussian of `std` pixels."""
    return scipy.ndimage.gaussian_filter(images, (0, std, std))


def median_filter(images: np.ndarray, size: int) -> np.ndarray:
    """(N, 28, 28), each pixel the median of the size x size pixels around it, `size` odd.

    scipy.ndimage.median_filter(images, (1, size, size)), bit for bit, at twice to three times the speed.
    """
    margin, middle = size // 2, size * size // 2
    medians = np.empty_like(images)
    for start in range(0, len(images), _ROWS):
        padded = np.pad(images[start : start + _ROWS], ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
        windows = windows.reshape(*windows.shape[:3], size * size)
        medians[start : start + _ROWS] = np.partition(windows, middle, axis=-1)[..., middle]
    return medians


def nl_means(images: np.ndarray, patch_size: int, patch_distance: int, h: float, sigma: float) -> np.ndarray:
    """(N, 28, 28), each pixel a mean of those of its image whose surroundings look alike (Buades et al. 2005).

    Raises:
        NotApplicable: scikit-image is not there.
    """
    try:
        from skimage.restoration import denoise_nl_means
    except ImportError as error:
        raise NotApplicable("scikit-image is not installed; pip install 'vaegan[denoising]'") from error
    # A call per image is as fast as one for a mosaic of them: the time goes into the images' own pixels.
    restore = partial(denoise_nl_means, patch_size=patch_size, patch_distance=patch_distance, h=h, sigma=sigma)
    return np.stack([restore(image, fast_mode=True) for image in images])


@dataclass(frozen=True)
class Filter:
    """A way to restore images, and the settings to choose from."""

    restore: Callable[..., np.ndarray]  # (N, 28, 28) float32 and a setting -> (N, 28, 28)
    settings: Callable[[float], list[Setting]]  # for noise sigma
    num_training: int = NUM_TRAINING
    num_test: int | None = None  # restored at most; None: all


# h and sigma of non-local means, in units of the noise: scikit-image's advice (0.6 with sigma told, 0.8 without), and less
# for clipped noise, which is smaller than its sigma says.
_NL_MEANS_STRENGTHS = ((0.8, 0.0), (0.6, 0.0), (0.4, 0.0), (0.5, 0.5), (0.3, 0.5), (0.6, 1.0))

FILTERS = {
    "noisy": Filter(nothing, lambda sigma: [{}]),
    "gaussian_filter": Filter(
        gaussian_filter,
        lambda sigma: [{"std": std} for std in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0)],
    ),
    "median_filter": Filter(median_filter, lambda sigma: [{"size": size} for size in (3, 5, 7)]),
    # The slowest by far, 1 ms per image: chosen and measured on fewer.
    "nl_means": Filter(
        nl_means,
        lambda sigma: [
            {"patch_size": size, "patch_distance": distance, "h": h * sigma, "sigma": told * sigma}
            for size, distance in ((3, 3), (5, 5))
            for h, told in _NL_MEANS_STRENGTHS
        ],
        num_training=100,
        num_test=1000,
    ),
}


def restore(name: str, noisy: Tensor, setting: Setting) -> Tensor:
    """Images (N, 784) after the filter `name`, float32 in [0, 1], on the CPU; what "noisy" leaves alone is not clipped.

    Raises:
        NotApplicable: the filter's library is not installed.
    """
    images = noisy.float().cpu().unflatten(1, (SIDE, SIDE)).numpy()
    restored = from_numpy(FILTERS[name].restore(images, **setting)).flatten(1)
    return restored if name == "noisy" else restored.clamp(0, 1)


def best_setting(name: str, noisy_train: Tensor, clean_train: Tensor, sigma: float) -> Setting:
    """The setting with the least MSE on the first training images (M, 784) at noise sigma > 0."""
    settings = FILTERS[name].settings(sigma)
    if len(settings) == 1:
        return settings[0]
    number = FILTERS[name].num_training
    noisy, clean = noisy_train[:number], clean_train[:number].cpu()
    return min(settings, key=lambda setting: restoration.mse(clean, restore(name, noisy, setting)).mean().item())


@dataclass
class Baselines:
    """By filter: what it achieves, at which setting, and why it is missing."""

    metrics: dict[str, dict[str, Metric]] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    not_applicable: dict[str, str] = field(default_factory=dict)


def measure(
    noisy_train: Tensor, clean_train: Tensor, noisy_test: Tensor, clean_test: Tensor, sigma: float
) -> Baselines:
    """Every filter on images (M, 784), (N, 784) at noise sigma > 0; non-local means on the first 1,000 test images."""
    found = Baselines()
    for name, method in FILTERS.items():
        try:
            setting = best_setting(name, noisy_train, clean_train, sigma)
            restored = restore(name, noisy_test[: method.num_test], setting)
        except NotApplicable as reason:
            found.not_applicable[name] = str(reason)
            continue
        found.settings[name] = setting
        found.metrics[name] = restoration.restoration(clean_test[: method.num_test].cpu(), restored)
    return found


def baselines(
    noisy_train: Tensor,
    clean_train: Tensor,
    noisy_test: Tensor,
    clean_test: Tensor,
    sigma: float,
    root: Path | None,
) -> Baselines:
    """measure(), or what it found before for the same pixels: in a file of root/baselines (None: default_root())."""
    images = noisy_train[:NUM_TRAINING], clean_train[:NUM_TRAINING], noisy_test, clean_test
    digest = _digest(images, sigma)
    path = (default_root() if root is None else root) / "baselines" / f"{digest}.json"
    found = _read(path, digest)
    if found is None:
        found = measure(*images, sigma)
        content = {"digest": digest, "sigma": sigma} | asdict(found)
        with suppress(OSError):  # a folder that cannot be written costs time, but no numbers
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / ".lock"):
                write_whole(path, json.dumps(content, indent=1) + "\n")
    return found


def _digest(images: tuple[Tensor, ...], sigma: float) -> str:
    """Of all that the numbers depend on: pixels, sigma, this code with its grids, and the versions of the libraries."""
    try:
        import skimage

        skimage_version = skimage.__version__
    except ImportError:
        skimage_version = None
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([sigma, np.__version__, scipy.__version__, skimage_version]).encode())
    for path in (__file__, restoration.__file__):
        digest.update(hashlib.blake2b(Path(path).read_bytes()).digest())
    for part in images:
        digest.update(json.dumps(part.shape).encode())
        digest.update(part.float().cpu().contiguous().numpy())
    return digest.hexdigest()


def _read(path: Path, digest: str) -> Baselines | None:
    """What the file holds; None where there is none, or one that is damaged or about something else."""
    try:
        content = json.loads(path.read_bytes())
        if content["digest"] != digest:
            return None
        metrics = {
            name: {key: Metric(**metric) for key, metric in metrics.items()}
            for name, metrics in content["metrics"].items()
        }
        found = Baselines(metrics, dict(content["settings"]), dict(content["not_applicable"]))
        values = [metric.value for metrics in found.metrics.values() for metric in metrics.values()]
        complete = found.metrics.keys() | found.not_applicable.keys() == FILTERS.keys()
        return found if complete and all(map(math.isfinite, values)) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
