"""What a subject's metrics look like, as PNG files in the run's evaluation/."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vaegan.evaluation import latent
from vaegan.evaluation.groups import Findings
from vaegan.evaluation.subject import Subject
from vaegan.reporting import grids, run_figures

_COLUMNS = 12
_WIDE = 20
_STEPS = 11
_NUM_TSNE = 2000
_SPREAD = 3.0  # prior deviations to either side of a traversal
_PLANE = 20  # decoded codes along each axis of a two-dimensional latent space
_ROWS = 8


def draw(name: str, subject: Subject, found: Findings, folder: Path) -> Iterator[Path]:
    """Draw the pictures of a group of metrics into `folder`; yields each file when it is there."""
    for picture, drawing in _PICTURES.get(name, lambda *_: {})(subject, found).items():
        path = folder / f"{picture}.png"
        drawing(path)
        yield path


Drawings = dict[str, Callable[[Path], None]]


def _reconstruction(subject: Subject, found: Findings) -> Drawings:
    sigmas = sorted({float(name.split("/")[0].removeprefix("sigma_")) for name in found.metrics})
    drawings: Drawings = {}
    for sigma in sigmas:
        noisy = subject.noisy("test", sigma)[:_COLUMNS]
        clean = subject.images("test", _COLUMNS)
        rows = {"clean": clean, "noisy": noisy} if sigma else {"input": clean}
        rows["reconstructed"] = subject.reconstruct(noisy)
        drawings[f"reconstruction_sigma_{sigma:g}"] = _rows(rows)
    errors: dict[str, dict[float, float]] = {}
    for name, metric in found.metrics.items():
        sigma, *filter_name, measure = name.split("/")
        if measure == "mse":
            key = (filter_name or ["model"])[0].replace("_", " ")
            errors.setdefault(key, {})[float(sigma.removeprefix("sigma_"))] = metric.value
    if len(sigmas) > 1:
        drawings["denoising"] = lambda path: run_figures.denoising(errors, path)
    return drawings


def _samples(subject: Subject, found: Findings) -> Drawings:
    rows = {"prior": subject.prior_samples}
    if "mixture/precision" in found.metrics:
        rows["mixture"] = subject.mixture_samples
    shares = {name.partition("/")[0]: values for name, values in found.arrays.items()}
    drawings = {"samples": _rows({name: images[:_WIDE] for name, images in rows.items()})}
    if shares:
        drawings["classes"] = lambda path: run_figures.class_shares(shares, path)
    return drawings


def _latent(subject: Subject, found: Findings) -> Drawings:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    mu = subject.codes("test")[0].cpu().numpy()
    labels = subject.labels("test").numpy()
    drawings: Drawings = {}
    if mu.shape[1] == 1:
        return _walks(subject, found)
    if mu.shape[1] == 2:
        plane, names = mu, ("latent dimension 1 (mu)", "latent dimension 2 (mu)")
        drawings["latent"] = lambda path: run_figures.scatter(plane, labels, names, path)
        drawings["plane"] = lambda path: grids.save(grids.draw(_bytes(decoded_plane(subject)), _PLANE), path)
    else:
        pca = PCA(2, random_state=0).fit(mu)
        plane = pca.transform(mu)
        names = tuple(f"principal component {i + 1} of mu ({pca.explained_variance_ratio_[i]:.0%})" for i in (0, 1))
        drawings["latent_pca"] = lambda path: run_figures.scatter(plane, labels, names, path)
        few = slice(_NUM_TSNE)

        def tsne(path: Path) -> None:
            points = TSNE(2, random_state=0, init="pca", max_iter=500).fit_transform(mu[few])
            axes = (f"t-SNE of mu, first {len(points):,} test images", "")
            run_figures.scatter(points, labels[few], axes, path)

        drawings["latent_tsne"] = tsne
    drawings["latent_digits"] = lambda path: run_figures.digit_map(plane, labels, names, path)
    return drawings | _walks(subject, found)


def _walks(subject: Subject, found: Findings) -> Drawings:
    kl, variance = found.arrays.get("kl_per_dimension"), found.arrays["variance_per_dimension"]
    return {
        "dimensions": lambda path: run_figures.per_dimension(kl, variance, latent.ACTIVE_VARIANCE, path),
        "interpolations": _grid(interpolations(subject)),
        "traversals": _rows(traversals(subject, kl or variance)),
    }


def _overfitting(subject: Subject, found: Findings) -> Drawings:
    training = subject.images("train")
    distance, index = subject.nearest_to_samples
    samples = subject.prior_samples[: len(distance)]
    unseen = subject.real.nearest_to_test(len(distance))
    closest = distance.argsort()[:_COLUMNS]
    drawings: Drawings = {
        "nearest": _rows({"sample": samples[closest], "training": training[index[closest]]}),
        "nearest_distances": lambda path: run_figures.distances(distance.cpu().numpy(), unseen.cpu().numpy(), path),
    }
    if "gap_per_epoch" in found.arrays:
        drawings["gap"] = lambda path: run_figures.gap(found.arrays["gap_per_epoch"], path)
    return drawings


def _discriminator(subject: Subject, found: Findings) -> Drawings:
    return {"discriminator": lambda path: run_figures.discriminator(found.arrays, path)} if found.arrays else {}


_PICTURES: dict[str, Callable[[Subject, Findings], Drawings]] = {
    "reconstruction": _reconstruction,
    "generation": _samples,
    "latent": _latent,
    "overfitting": _overfitting,
    "discriminator": _discriminator,
}


def decoded_plane(subject: Subject) -> Tensor:
    """Images decoded over the plane at d = 2, at the prior's quantiles 2.5 %, 7.5 %, ... 97.5 % of each axis, (400, 784).

    Dimension 1 grows to the right, dimension 2 upwards.
    """
    quantiles = (torch.arange(_PLANE, dtype=torch.float64) + 0.5) / _PLANE
    ticks = torch.special.ndtri(quantiles).float().to(subject.device)
    second, first = torch.meshgrid(ticks.flip(0), ticks, indexing="ij")
    return subject.generate(torch.stack([first.flatten(), second.flatten()], dim=1))


def interpolations(subject: Subject) -> Tensor:
    """Straight lines between the codes of pairs of test images, (rows * steps, 784)."""
    mu = subject.codes("test")[0][: 2 * _ROWS]
    along = torch.linspace(0, 1, _STEPS, device=mu.device)[:, None]
    lines = [start + along * (end - start) for start, end in mu.split(2)]
    return subject.generate(torch.cat(lines))


def traversals(subject: Subject, use: list[float]) -> dict[str, Tensor]:
    """The most used dimensions moved from -3 to 3, the others held at 0, a row for each."""
    steps = torch.linspace(-_SPREAD, _SPREAD, _STEPS, device=subject.device)
    rows = {}
    for dimension in np.argsort(use)[::-1][:_ROWS]:
        z = torch.zeros(_STEPS, subject.model.latent_dim, device=subject.device)
        z[:, dimension] = steps
        rows[f"z{dimension + 1}, -3 to 3"] = subject.generate(z)
    return rows


def write_projector(subject: Subject, folder: Path) -> None:
    """The codes of the test images with their labels and images, for TensorBoard's embedding projector."""
    from torch.utils.tensorboard import SummaryWriter

    images = subject.images("test").unflatten(1, (1, 28, 28)).cpu()
    labels = subject.labels("test").tolist()
    num = min(len(images), _NUM_SPRITES)
    with SummaryWriter(str(folder)) as board:
        board.add_embedding(subject.codes("test")[0][:num].cpu(), labels[:num], images[:num], tag="test_codes")


_NUM_SPRITES = 8000  # 90 x 90 sprites of 28 pixels: TensorBoard takes no picture above 8192 pixels


def _rows(rows: dict[str, Tensor]) -> Callable[[Path], None]:
    pixels = {name: _bytes(images) for name, images in rows.items()}
    return lambda path: grids.save(grids.draw_rows(pixels), path, list(pixels))


def _grid(images: Tensor, columns: int = _STEPS) -> Callable[[Path], None]:
    return lambda path: grids.save(grids.draw(_bytes(images), columns), path)


def _bytes(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()
