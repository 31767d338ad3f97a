"""Every option of `python -m vaegan.evaluate`; the values live in conf/evaluate.yaml. Imports no torch.

`python -m vaegan.evaluation.options` prints them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from vaegan.config import describe, option

Group = Literal[
    "loss", "likelihood", "reconstruction", "generation", "latent", "overfitting", "anomaly", "discriminator"
]
GROUPS: tuple[str, ...] = get_args(Group)


@dataclass(frozen=True)
class Likelihood:
    num_samples: int = option("k, codes drawn for each image", ge=1)
    num_images: int | None = option(
        "test images, from the first on; null: 10 million / hidden_dim, all up to d = 31", ge=2
    )
    binarisation: Literal["fixed", "dynamic"] = option(
        "black-and-white digits: the same for everyone, or drawn by seed"
    )


@dataclass(frozen=True)
class Reconstruction:
    sigmas: tuple[float, ...] = option("noise levels of the input; 0 is the clean image", ge=0)
    filters: bool = option("beside what a user would otherwise do: Gaussian, median and non-local-means filters")


@dataclass(frozen=True)
class Generation:
    num_samples: int = option("images drawn, and real ones they are compared with", ge=100, le=10_000)
    mixture_components: int = option("Gaussians in the mixture fitted on the codes", ge=1, le=100)


@dataclass(frozen=True)
class Options:
    """One evaluation, checked."""

    run: tuple[str, ...] = option("run folder, several as [A,B], or a sweep's folder")
    metrics: tuple[Group, ...] = option("groups of metrics to compute")
    weights: Literal["model", "last", "previous", "best"] = option("those of the finished run, or of a checkpoint")
    seed: int = option("of everything random in the evaluation", ge=0, le=2**32 - 1)
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("where to compute")
    again: bool = option("compute also what evaluation/metrics.json holds already")
    figures: bool = option("draw pictures")
    projector: bool = option("write the codes and their images for TensorBoard's projector")
    data_root: str | None = option("folder of the data files; null: the run's data.root")
    likelihood: Likelihood = option("importance-sampled log p(x)")
    reconstruction: Reconstruction = option("reconstruction and denoising")
    generation: Generation = option("samples")


if __name__ == "__main__":
    print(describe(Options))
