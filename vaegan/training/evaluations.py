"""A few cheap metrics while a run goes on, in TensorBoard: is the latent space used, are the samples digits?"""

import torch
from pytorch_lightning import Callback, Trainer

from vaegan import randomness
from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.data.mapped import Images
from vaegan.evaluation import features, generation, latent
from vaegan.training.module import VAEGANModule

NUM_CODES = 2000
NUM_SAMPLES = 1000


class Evaluations(Callback):
    """Every n epochs: active units and a linear probe of 2,000 training and test codes, classifier score of 1,000 samples."""

    def __init__(self, every_n_epochs: int):
        self.every_n_epochs = every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        if (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            for name, value in cheap_metrics(pl_module, trainer.datamodule.splits).items():
                trainer.logger.experiment.add_scalar(f"evaluation/{name}", value, trainer.global_step)


@torch.no_grad()
def cheap_metrics(module: VAEGANModule, splits: dict[str, tuple[Images, torch.Tensor]]) -> dict[str, float]:
    """active_units and probe_accuracy if there is an encoder (and more than one class), classifier_score but for data=own.

    Args:
        splits: images (N, 784) uint8 and labels (N,) of "train" and "test".
    """
    data, device = module.config.data, module.device
    values = {}
    if module.model.encoder is not None:
        codes, labels = {}, {}
        for split in ("train", "test"):
            images, labels[split] = (part[:NUM_CODES] for part in splits[split])
            codes[split] = module.model.encode(pixels(images.to(device)))[0].float()
        values["active_units"] = latent.active_units(codes["test"]).value
        if len(labels["train"].unique()) > 1:
            values["probe_accuracy"] = latent.probe_accuracy(
                codes["train"], labels["train"], codes["test"], labels["test"]
            ).value
    if data.name == "own":  # no network knows its classes
        return values
    z = randomness.normal((NUM_SAMPLES, module.model.latent_dim), device, module.config.seed, "scored prior")
    network = features.load(data.name, sources.root_folder(data.root), device)
    values["classifier_score"] = generation.classifier_score(network(module.model.generate(z))[1]).value
    return values
