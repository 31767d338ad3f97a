"""Pictures of how a run goes, as PNG files and in TensorBoard: the same images, noise and codes every epoch."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from pytorch_lightning import Callback, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from vaegan import randomness
from vaegan.data.batches import EVALUATION_BATCH, pixels
from vaegan.reporting import plots
from vaegan.runs import RunFolder
from vaegan.training.module import VAEGANModule

NUM_COLUMNS = 12
_LABEL_WIDTH = 106


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
        grids = {"samples": sample_grid(pl_module)}
        if pl_module.model.encoder is not None:
            images, labels = trainer.datamodule.splits["test"]
            grids["reconstructions"] = reconstruction_grid(pl_module, images)
            if pl_module.model.latent_dim == 2:
                codes = encode_all(pl_module, images)
                grids["latent"] = plots.latent_scatter(codes.cpu().numpy(), labels.numpy())
        for name, grid in grids.items():
            save_png(grid, self.folder.images / f"{name}_epoch_{epoch:04d}.png")
        if trainer.logger is not None:
            board = trainer.logger.experiment
            for name, grid in grids.items():
                board.add_image(name, grid, step, dataformats="HWC")
            if pl_module.kl_per_dimension is not None and np.isfinite(pl_module.kl_per_dimension).all():
                board.add_histogram("test/kl_per_dimension", np.asarray(pl_module.kl_per_dimension), step)


@torch.no_grad()
def reconstruction_grid(module: VAEGANModule, images: Tensor) -> np.ndarray:
    """Rows of clean, noisy (if there is noise) and reconstructed test images, (H, W, 3) uint8.

    Args:
        images: test images (N, 784) uint8; the first ones are drawn, with the noise they are evaluated with.
    """
    x = pixels(images[:EVALUATION_BATCH].to(module.device))
    x_noisy, _, _ = module.draws(x, 0, evaluating="test ")
    rows = {"clean": x, "noisy": x_noisy} if module.config.data.noise_std > 0 else {"input": x}
    rows["reconstructed"] = module.model.reconstruct(x_noisy)
    return _with_labels(_grid(torch.cat([row[:NUM_COLUMNS] for row in rows.values()])), list(rows))


@torch.no_grad()
def sample_grid(module: VAEGANModule) -> np.ndarray:
    """Images decoded from fixed prior draws, (H, W, 3) uint8."""
    shape = (NUM_COLUMNS * NUM_COLUMNS, module.model.latent_dim)
    return _grid(module.model.generate(randomness.normal(shape, module.device, module.config.seed, "shown prior")))


@torch.no_grad()
def encode_all(module: VAEGANModule, images: Tensor) -> Tensor:
    """mu (N, d) of all images (N, 784) uint8, clean."""
    return torch.cat(
        [module.model.encode(pixels(part.to(module.device)))[0] for part in images.split(EVALUATION_BATCH)]
    )


def save_png(image: np.ndarray, path: Path) -> None:
    Image.fromarray(image).save(path)


def _grid(images: Tensor) -> np.ndarray:
    """Images (N, 784) in rows of NUM_COLUMNS, each pixel twice as large, (H, W, 3) uint8."""
    grid = make_grid(images.clamp(0, 1).reshape(-1, 1, 28, 28), nrow=NUM_COLUMNS, padding=1, pad_value=0.25)
    grid = (grid * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return grid.repeat(2, axis=0).repeat(2, axis=1)


def _with_labels(grid: np.ndarray, labels: list[str]) -> np.ndarray:
    """The grid with the name of each of its rows to the left."""
    picture = Image.new("RGB", (grid.shape[1] + _LABEL_WIDTH, grid.shape[0]), "white")
    picture.paste(Image.fromarray(grid), (_LABEL_WIDTH, 0))
    row_height = grid.shape[0] / len(labels)
    for row, label in enumerate(labels):
        position = (_LABEL_WIDTH - 6, (row + 0.5) * row_height)
        ImageDraw.Draw(picture).text(position, label, fill="black", anchor="rm", font_size=15)
    return np.asarray(picture)
