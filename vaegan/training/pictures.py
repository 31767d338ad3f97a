"""Pictures of how a run goes, as PNG files and in TensorBoard: the same images, noise and codes every epoch."""

import numpy as np
import torch
from pytorch_lightning import Callback, Trainer
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from vaegan import randomness
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.data.mapped import Images
from vaegan.files import replacing, write_whole
from vaegan.reporting import grids, plots
from vaegan.runs import RunFolder
from vaegan.training.module import VAEGANModule

NUM_COLUMNS = 12


class Pictures(Callback):
    """After every n-th epoch and the last: reconstructions, samples and, for a 2-D latent space, the scatter of codes."""

    def __init__(self, folder: RunFolder, every_n_epochs: int):
        self.folder = folder
        self.every_n_epochs = every_n_epochs

    def on_validation_end(self, trainer: Trainer, pl_module: VAEGANModule) -> None:
        epoch, step = trainer.current_epoch + 1, trainer.global_step
        is_last = trainer.should_stop or epoch == trainer.max_epochs
        if epoch % self.every_n_epochs and not is_last:
            return
        self.folder.images.mkdir(exist_ok=True)
        pictures = {"samples": grids.draw(samples(pl_module), NUM_COLUMNS)}
        rows: list[str] = []
        if pl_module.model.encoder is not None:
            images, labels = trainer.datamodule.splits["test"]
            reconstructed = reconstructions(pl_module, images)
            rows = list(reconstructed)
            pictures["reconstructions"] = grids.draw_rows(reconstructed)
            if pl_module.model.latent_dim == 2:
                codes = encode_all(pl_module, images).cpu().numpy()
                pictures["latent"] = plots.latent_scatter(codes, labels.numpy())
                if is_last:
                    with replacing(self.folder.codes) as temporary, temporary.open("wb") as file:
                        np.savez(file, mu=codes, labels=labels.numpy().astype(np.uint8))
        board = trainer.logger.experiment if trainer.logger is not None else None
        for name, picture in pictures.items():
            png = grids.png(picture, rows if name == "reconstructions" else None)
            write_whole(self.folder.images / f"{name}_epoch_{epoch:04d}.png", png)
            if board is not None:  # board.add_image would compress it a second time
                height, width, *_ = picture.shape
                image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
                board.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=image)]), step)
        kl = pl_module.kl_per_dimension
        if board is not None and kl is not None and np.isfinite(kl).all():
            board.add_histogram("test/kl_per_dimension", np.asarray(kl), step)


@torch.no_grad()
def reconstructions(module: VAEGANModule, images: Images) -> dict[str, np.ndarray]:
    """The first test images, clean, noisy (if there is noise) and reconstructed, (NUM_COLUMNS, 784) uint8 each.

    Args:
        images: test images (N, 784) uint8; their noise is what they are evaluated with.
    """
    x = pixels(images[:EVALUATION_BATCH].to(module.device))
    x_noisy, _, _ = module.draws(x, 0, evaluating="test ")
    rows = {"clean": x, "noisy": x_noisy} if module.config.data.noise_std > 0 else {"input": x}
    rows["reconstructed"] = module.model.reconstruct(x_noisy)
    return {name: _bytes(row[:NUM_COLUMNS]) for name, row in rows.items()}


@torch.no_grad()
def samples(module: VAEGANModule) -> np.ndarray:
    """Images decoded from fixed prior draws, (NUM_COLUMNS squared, 784) uint8."""
    shape = (NUM_COLUMNS * NUM_COLUMNS, module.model.latent_dim)
    return _bytes(module.model.generate(randomness.normal(shape, module.device, module.config.seed, "shown prior")))


@torch.no_grad()
def encode_all(module: VAEGANModule, images: Images) -> Tensor:
    """mu (N, d) of all images (N, 784) uint8, clean."""
    return torch.cat(
        [module.model.encode(pixels(part.to(module.device)))[0] for part in images.split(EVALUATION_BATCH)]
    )


def _bytes(images: Tensor) -> np.ndarray:
    """Images in [0, 1] as uint8."""
    return (images.clamp(0, 1) * 255).round().byte().cpu().numpy()
