"""Layers, shapes, and parameter counts of the paper's three latent sizes."""

import pytest
import torch
from conftest import make_config
from torch import nn

from vaegan.model import VAEGAN, num_parameters
from vaegan.networks import Decoder, Discriminator, Encoder


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("latent_dim", [2, 100, 500])
def test_parameter_counts_of_the_paper(latent_dim, batch_norm):
    d, h, bn = latent_dim, latent_dim**2, int(batch_norm)
    config = make_config(f"model.latent_dim={d}", f"model.batch_norm={batch_norm}")
    assert num_parameters(config.model, config.objective) == {
        "encoder": (784 * h + h) + (h * 2 * d + 2 * d) + bn * 2 * h,
        "decoder": (d * h + h) + (h * 784 + 784) + bn * 2 * h,
        "discriminator": (784 * 256 + 256) + (256 + 1) + bn * 2 * 256,
    }


def test_known_totals():
    """FACTS of the paper's rule hidden = d squared: 7,092 at d = 2 and about 768 million at d = 500."""
    small, large = make_config("model.latent_dim=2", "model.batch_norm=false"), make_config("model.latent_dim=500")
    counts = num_parameters(small.model, small.objective)
    assert counts["encoder"] + counts["decoder"] == 7_092
    assert 767e6 < sum(num_parameters(large.model, large.objective).values()) < 769e6


@pytest.mark.parametrize("batch_norm", [False, True])
def test_layers_follow_figure_7(batch_norm):
    bn = [nn.BatchNorm1d] if batch_norm else []
    hidden = [nn.Linear, *bn, nn.ReLU, nn.Linear]
    assert [type(m) for m in Encoder(3, 9, batch_norm)] == hidden
    assert [type(m) for m in Decoder(3, 9, batch_norm)] == hidden
    assert [type(m) for m in Discriminator(batch_norm)] == hidden
    assert [type(m) for m in Encoder(3, 9, batch_norm, batch_norm_output=True)] == [*hidden, nn.BatchNorm1d]


def test_shapes_and_gradients_reach_every_parameter():
    config = make_config("model.latent_dim=3", "model.batch_norm_output=true", "model.dropout=0.1")
    model = VAEGAN(config.model, config.objective)
    x = torch.rand(7, 784)
    mu, logvar = model.encode(x)
    logits = model.decode(model.reparameterize(mu, logvar, torch.randn(7, 3)))
    realness = model.discriminate(logits.sigmoid())
    assert (mu.shape, logvar.shape, logits.shape, realness.shape) == ((7, 3), (7, 3), (7, 784), (7, 1))
    (realness.sum() + (logvar * torch.randn(7, 3)).sum() + (logits * torch.randn(7, 784)).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.dim() == 2)


@pytest.mark.parametrize(
    "objective, networks",
    [
        ("autoencoder", ["encoder", "decoder"]),
        ("vae", ["encoder", "decoder"]),
        ("gan", ["decoder", "discriminator"]),
        ("vaegan", ["encoder", "decoder", "discriminator"]),
    ],
)
def test_an_objective_gets_the_networks_it_needs(objective, networks):
    config = make_config(f"objective={objective}", "model.latent_dim=2")
    model = VAEGAN(config.model, config.objective)
    assert list(num_parameters(config.model, config.objective)) == networks
    owned = {id(p) for p in model.vae_parameters() + model.discriminator_parameters()}
    assert owned == {id(p) for p in model.parameters()}  # no parameter without an optimizer
