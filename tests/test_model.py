"""How codes and images relate, and what evaluation promises."""

import pytest
import torch
from conftest import make_config

from vaegan.model import VAEGAN


def model_of(*overrides: str) -> VAEGAN:
    config = make_config("model.latent_dim=6", *overrides)
    torch.manual_seed(0)
    return VAEGAN(config.model, config.objective)


def test_reparameterize_is_mu_plus_sigma_eps():
    mu, logvar, eps = torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    model = model_of()
    assert model.reparameterize(mu, logvar, eps).item() == pytest.approx(3.0)
    assert model.reparameterize(mu, torch.log(torch.tensor([[9.0]])), eps).item() == pytest.approx(7.0)  # sigma = 3


def test_reparameterized_codes_have_the_posterior_moments():
    mu, logvar = torch.full((200_000, 1), 0.7), torch.full((200_000, 1), -1.2)
    z = model_of().reparameterize(mu, logvar, torch.randn(200_000, 1, generator=torch.Generator().manual_seed(0)))
    assert z.mean().item() == pytest.approx(0.7, abs=0.01)
    assert z.var().log().item() == pytest.approx(-1.2, abs=0.02)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_evaluation_of_an_image_does_not_depend_on_its_batch_mates(batch_norm):
    model = model_of(f"model.batch_norm={batch_norm}", "model.dropout=0.2")
    for _ in range(3):  # running statistics that are not the initial ones
        model.discriminate(model.decode(model.encode(torch.rand(32, 784))[0]).sigmoid())
    model.eval()
    x = torch.rand(9, 784)
    together, alone = model.reconstruct(x), torch.cat([model.reconstruct(image[None]) for image in x])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    scores = torch.cat([model.discriminate(image[None]) for image in x])
    torch.testing.assert_close(model.discriminate(x), scores, rtol=0, atol=1e-6)


def test_training_mode_does_depend_on_batch_mates():
    """The other side of the test above: it could fail."""
    model = model_of("model.batch_norm=true")
    x = torch.rand(9, 784)
    assert (model.reconstruct(x)[:4] - model.reconstruct(x[:4])).abs().max() > 1e-3


def test_evaluation_reconstructs_from_mu_and_images_are_sigmoids():
    model = model_of().eval()
    x = torch.rand(4, 784)
    mu, _ = model.encode(x)
    torch.testing.assert_close(model.reconstruct(x), model.decode(mu).sigmoid())
    assert torch.equal(model.reconstruct(x), model.reconstruct(x))


def test_missing_networks_say_so():
    with pytest.raises(ValueError, match="no encoder"):
        model_of("objective=gan").encode(torch.rand(2, 784))
    with pytest.raises(ValueError, match="without a discriminator"):
        model_of("objective=vae").discriminate(torch.rand(2, 784))
