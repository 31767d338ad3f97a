"""What every metric is computed from, each thing computed once: a trained model, its data, codes, samples, features."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor

from vaegan import config, randomness
from vaegan.data import sources
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.data.corruption import corrupt
from vaegan.data.module import ImageData
from vaegan.errors import UserError
from vaegan.evaluation import features, memorising
from vaegan.evaluation.generation import generation_metrics
from vaegan.evaluation.options import Options
from vaegan.evaluation.result import Metric, NotApplicable
from vaegan.runs import RunFolder, load_run

NUM_IMAGES = 60_000  # of a split, the first ones: all of a known data set; of own files as many as memory surely holds
NUM_NEAREST = 2000  # images whose nearest training image is looked for
Features = tuple[Tensor, Tensor]  # (N, 64) and class logits (N, 10) of features.py's network


class RealImages:
    """The images of one data set, shared by all runs that were trained on it."""

    def __init__(self, data: config.Data, device: torch.device):
        self.name = data.name
        # Where more is kept and looked for; not among files of the user's own.
        self.root = None if data.name == "own" else sources.root_folder(data.root)
        self.device = device
        module = ImageData(data, seed=0)
        module.prepare_data()
        self.splits = {
            name: (images[:NUM_IMAGES].to(device), labels[:NUM_IMAGES])
            for name, (images, labels) in module.splits.items()
        }

    @cached_property
    def network(self) -> features.FeatureNetwork:
        """Raises NotApplicable where there is none for the data set."""
        if self.name == "own":
            raise NotApplicable("data=own has no feature network to judge samples by")
        return features.load(self.name, self.root, self.device)

    @lru_cache(maxsize=4)  # noqa: B019 - lives as long as the process's only instance
    def features(self, split: str, num_images: int) -> Features:
        """Of the first images of a split."""
        return featurise(self.network, pixels(self.splits[split][0][:num_images]))

    @lru_cache(maxsize=1)  # noqa: B019
    def floor(self, num_images: int, seed: int) -> dict[str, Metric]:
        """The generation metrics of training images against test images: what no model can be expected to beat."""
        return generation_metrics(self.features("test", num_images), self.features("train", num_images), seed)

    @lru_cache(maxsize=1)  # noqa: B019
    def nearest_to_test(self, num_images: int) -> Tensor:
        """Distance of the first test images to the nearest training image, (num_images,)."""
        test = pixels(self.splits["test"][0][:num_images])
        return memorising.nearest(test, pixels(self.splits["train"][0]))[0]


@lru_cache(maxsize=1)
def real_images(data: config.Data, device: torch.device) -> RealImages:
    """Kept for the next run of a sweep, whose data is mostly the same."""
    # What is done to images in training is not part of what they are.
    return RealImages(data, device)


@lru_cache(maxsize=3)
def other_images(name: str, root: Path | None) -> Tensor:
    """Test images (N, 784) uint8 of another data set.

    Raises:
        NotApplicable: they cannot be had.
    """
    try:
        return torch.from_numpy(sources.load(name, root).test_images)
    except UserError as error:
        raise NotApplicable(str(error).partition(":")[0]) from error


def featurise(network: features.FeatureNetwork, images: Tensor) -> Features:
    """Features and class logits of images (N, 784) in [0, 1]."""
    parts = [network(part) for part in images.split(100)]  # what fits into a CPU's cache
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


class Subject:
    """A trained model, in eval mode, its parameters without gradients; all under torch.no_grad.

    Attributes:
        config: the run's.
        options: the evaluation's.
        tick: is told how far, from 0 to 1, the present group of metrics has come.
    """

    def __init__(self, folder: RunFolder, options: Options, device: torch.device):
        self.folder = folder
        self.options = options
        self.device = device
        self.config = folder.read_config()
        self.model = load_run(folder.path, options.weights, str(device))
        self._codes: dict[str, tuple[Tensor, Tensor]] = {}
        self.tick: Callable[[float], None] = lambda fraction: None
        data = replace(self.config.data, root=options.data_root or self.config.data.root)
        # Noise is made below, so runs that differ by it alone share their images.
        self.real = real_images(replace(data, noise_std=0.0, noise_clip=False, batch_size=2), device)

    @property
    def kind(self) -> str:
        return self.config.objective.kind

    def need_encoder(self) -> None:
        if self.model.encoder is None:
            raise NotApplicable("objective=gan has no encoder")

    def images(self, split: str, num_images: int | None = None) -> Tensor:
        """The first images of a split, (N, 784) in [0, 1]."""
        return pixels(self.real.splits[split][0][:num_images])

    def labels(self, split: str) -> Tensor:
        """(N,), on the CPU."""
        return self.real.splits[split][1]

    def as_trained(self, split: str, num_images: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of x, x_noisy (B, 784) with the noise that the run was evaluated with after every epoch."""
        data = self.config.data
        for number, x in enumerate(self.images(split, num_images).split(EVALUATION_BATCH)):
            noise = randomness.normal(x.shape, self.device, self.config.seed, f"{split} noise", number)
            yield x, corrupt(x, noise, data.noise_std, data.noise_clip) if data.noise_std > 0 else x

    def noisy(self, split: str, sigma: float, num_images: int | None = None) -> Tensor:
        """The first images of a split at noise sigma, clipped if the run's were, (N, 784)."""
        x = self.images(split, num_images)
        if sigma == 0:
            return x
        noise = randomness.normal(x.shape, self.device, self.options.seed, f"evaluated {split} noise")
        return corrupt(x, noise, sigma, self.config.data.noise_clip)

    def reconstruct(self, x: Tensor) -> Tensor:
        """(N, 784), clean or noisy -> reconstructions in [0, 1], from z = mu."""
        return torch.cat([self.model.reconstruct(part) for part in x.split(EVALUATION_BATCH)])

    def codes(self, split: str) -> tuple[Tensor, Tensor]:
        """mu, logvar of all clean images of a split, each (N, d), float32."""
        self.need_encoder()
        if split not in self._codes:
            self._codes[split] = self._encode(split)
        return self._codes[split]

    def _encode(self, split: str) -> tuple[Tensor, Tensor]:
        parts = [self.model.encode(pixels(part)) for part in self.real.splits[split][0].split(EVALUATION_BATCH)]
        return torch.cat([mu for mu, _ in parts]).float(), torch.cat([logvar for _, logvar in parts]).float()

    def prior_codes(self, num_samples: int) -> Tensor:
        """Draws of N(0, I), (N, d)."""
        return randomness.normal(
            (num_samples, self.model.latent_dim), self.device, self.options.seed, "evaluated prior"
        )

    @cached_property
    def num_samples(self) -> int:
        """How many images are generated: as many as asked for, but no more than there are real ones in each split."""
        return min(
            self.options.generation.num_samples, *(len(self.real.splits[split][0]) for split in ("train", "test"))
        )

    @cached_property
    def prior_samples(self) -> Tensor:
        """Images decoded from the prior, (N, 784)."""
        return self.generate(self.prior_codes(self.num_samples))

    @cached_property
    def mixture_samples(self) -> Tensor:
        """Images decoded from a Gaussian mixture fitted on training codes, (N, 784): fair to models without a prior."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture

        options = self.options
        codes = self.codes("train")[0][:10_000].double().cpu().numpy()
        seed = randomness.key(options.seed, "mixture") % 2**32
        mixture = GaussianMixture(options.generation.mixture_components, random_state=seed, max_iter=30)
        with warnings.catch_warnings():
            # 30 rounds of EM describe the codes well enough; the last digits are not waited for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes)
        drawn, _ = mixture.sample(self.num_samples)
        order = torch.randperm(len(drawn), generator=randomness.generator("cpu", options.seed, "mixture order"))
        return self.generate(
            torch.from_numpy(drawn)[order].float().to(self.device)
        )  # sklearn's are sorted by component

    @cached_property
    def nearest_to_samples(self) -> tuple[Tensor, Tensor]:
        """Distance of the first prior samples, 2,000 or fewer, to the nearest training image, and its place, each (N,)."""
        return memorising.nearest(self.prior_samples[:NUM_NEAREST], self.images("train"))

    def generate(self, z: Tensor) -> Tensor:
        """Codes (N, d) -> images (N, 784) in [0, 1]."""
        return torch.cat([self.model.generate(part) for part in z.split(EVALUATION_BATCH)])
