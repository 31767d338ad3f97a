"""Test loss of finished runs with z = mu, as the paper has it, and with z sampled, as in training; mean over seeds.

python docs/results/sampled_codes.py outputs/paper/*
"""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch

import vaegan
from vaegan import losses, randomness
from vaegan.data import sources
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.data.corruption import corrupt
from vaegan.runs import RunFolder

CPU = torch.device("cpu")


@torch.no_grad()
def test_losses(folder: RunFolder) -> tuple[float, float]:
    """(with z = mu, with z sampled once), nats per image, for the noise that the run was evaluated with."""
    model, config = vaegan.load_run(folder.path), folder.read_config()
    images = torch.from_numpy(sources.load(config.data.name, None).test_images)
    sums = [0.0, 0.0]
    for number, batch in enumerate(images.split(EVALUATION_BATCH)):
        x = x_noisy = pixels(batch)
        if config.data.noise_std > 0:
            noise = randomness.normal(x.shape, CPU, config.seed, "test noise", number)
            x_noisy = corrupt(x, noise, config.data.noise_std, config.data.noise_clip)
        mu, logvar = model.encode(x_noisy)
        eps = randomness.normal(mu.shape, CPU, config.seed, "test eps", number)
        kl = losses.kl_per_dimension(mu, logvar).sum()
        for index, z in enumerate((mu, model.reparameterize(mu, logvar, eps))):
            sums[index] += (losses.reconstruction(model.decode(z), x) + kl).item() * len(x)
    return sums[0] / len(images), sums[1] / len(images)


by_settings = defaultdict(list)
for path in map(Path, sys.argv[1:]):
    folder = RunFolder(path)
    if folder.state == "finished":
        c = folder.read_config()
        by_settings[c.data.noise_std, c.model.latent_dim, c.model.batch_norm].append(test_losses(folder))
print(f"{'noise':>6}{'d':>6}{'BatchNorm':>11}{'seeds':>7}{'z = mu':>9}{'z sampled':>11}")
for (noise_std, d, batch_norm), values in sorted(by_settings.items()):
    at_mu, sampled = (mean(column) for column in zip(*values, strict=True))
    print(
        f"{noise_std:>6g}{d:>6}{'with' if batch_norm else 'without':>11}{len(values):>7}{at_mu:>9.1f}{sampled:>11.1f}"
    )
