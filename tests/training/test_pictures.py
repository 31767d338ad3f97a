"""What the pictures show, cell by cell."""

import numpy as np
import torch
from conftest import SMALL, make_config

from vaegan import randomness
from vaegan.data import sources
from vaegan.training import pictures
from vaegan.training.module import VAEGANModule

IMAGES = torch.from_numpy(sources.load("digits", None).test_images)


def cell(picture: np.ndarray, row: int, column: int, left: int) -> torch.Tensor:
    """The 28 x 28 image in a cell of the grid, whose pixels are drawn twice as large with a line of 1 between cells."""
    top, start = 2 * (1 + 29 * row), left + 2 * (1 + 29 * column)
    return torch.from_numpy(picture[top : top + 56 : 2, start : start + 56 : 2, 0].copy())


def drawn(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round().byte().reshape(28, 28)


def test_reconstructions_show_clean_noisy_and_what_is_made_of_the_noisy():
    module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5")).eval()
    picture = pictures.reconstruction_grid(module, IMAGES)
    x = IMAGES[:500].float() / 255
    noise = randomness.normal(x.shape, torch.device("cpu"), 0, "test noise", 0)
    noisy = (x + 0.5 * noise).clamp(0, 1)
    reconstructed = module.model.reconstruct(noisy)
    for column in (0, 5, 11):
        for row, images in enumerate((x, noisy, reconstructed)):
            difference = cell(picture, row, column, pictures._LABEL_WIDTH).int() - drawn(images[column]).int()
            assert difference.abs().max() <= 1, (row, column)


def test_without_noise_there_is_no_noisy_row():
    with_noise, without = (
        pictures.reconstruction_grid(VAEGANModule(make_config(*SMALL, f"data.noise_std={std}")).eval(), IMAGES)
        for std in (0.5, 0)
    )
    assert with_noise.shape[0] > without.shape[0]


def test_samples_are_decoded_from_the_same_codes_for_every_model():
    module = VAEGANModule(make_config(*SMALL)).eval()
    z = randomness.normal((144, 4), torch.device("cpu"), 0, "shown prior")
    picture = pictures.sample_grid(module)
    assert torch.equal(cell(picture, 11, 11, left=0), drawn(module.model.generate(z)[143]))


def test_codes_are_the_means_of_the_clean_images():
    module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5")).eval()
    codes = pictures.encode_all(module, IMAGES)
    torch.testing.assert_close(codes, module.model.encode(IMAGES.float() / 255)[0])
