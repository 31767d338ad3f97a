"""What the pictures show, cell by cell."""

import numpy as np
import torch
from conftest import SMALL, make_config

from vaegan import randomness
from vaegan.data import sources
from vaegan.training import pictures
from vaegan.training.module import VAEGANModule

IMAGES = torch.from_numpy(sources.load("digits", None).test_images)


def drawn(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round().byte()


def test_reconstructions_show_clean_noisy_and_what_is_made_of_the_noisy():
    module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5")).eval()
    rows = pictures.reconstructions(module, IMAGES)
    assert list(rows) == ["clean", "noisy", "reconstructed"]
    x = IMAGES[:500].float() / 255
    noise = randomness.normal(x.shape, torch.device("cpu"), 0, "test noise", 0)
    noisy = (x + 0.5 * noise).clamp(0, 1)
    reconstructed = module.model.reconstruct(noisy)
    for row, images in zip(rows.values(), (x, noisy, reconstructed), strict=True):
        assert row.shape == (12, 784)
        difference = torch.from_numpy(row).int() - drawn(images[:12]).int()
        assert difference.abs().max() <= 1


def test_without_noise_there_is_no_noisy_row():
    module = VAEGANModule(make_config(*SMALL)).eval()
    assert list(pictures.reconstructions(module, IMAGES)) == ["input", "reconstructed"]


def test_samples_are_decoded_from_the_same_codes_for_every_model():
    module = VAEGANModule(make_config(*SMALL)).eval()
    z = randomness.normal((144, 4), torch.device("cpu"), 0, "shown prior")
    assert torch.equal(torch.from_numpy(pictures.samples(module)), drawn(module.model.generate(z)))


def test_codes_of_a_plane_are_kept_for_the_report(run_digits):
    from vaegan.runs import load_run

    folder = run_digits("model.latent_dim=2", "trainer.max_epochs=1")
    with np.load(folder.codes) as kept:
        expected = load_run(folder.path).encode(IMAGES.float() / 255)[0]
        np.testing.assert_allclose(kept["mu"], expected.numpy(), rtol=1e-4, atol=1e-5)
        assert np.array_equal(kept["labels"], sources.load("digits", None).test_labels)


def test_codes_are_the_means_of_the_clean_images():
    module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5")).eval()
    codes = pictures.encode_all(module, IMAGES)
    torch.testing.assert_close(codes, module.model.encode(IMAGES.float() / 255)[0])
