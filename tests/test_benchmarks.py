"""What the benchmark takes for granted: its own count of parameters and operations."""

import pytest
import torch
from conftest import make_config
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contestants import networks
from benchmarks.settings import BATCH_SIZE, Setting
from vaegan.model import num_parameters
from vaegan.training.module import VAEGANModule


def config_of(setting: Setting):
    return make_config(*setting.options)


@pytest.mark.parametrize("latent_dim", [2, 20, 500])
def test_parameters_are_counted_right(latent_dim):
    setting = Setting(latent_dim)
    config = config_of(setting)
    assert setting.num_parameters == sum(num_parameters(config.model, config.objective).values())


def test_the_networks_of_the_contestants_have_as_many_parameters():
    setting = Setting(20)
    assert sum(p.numel() for network in networks(setting) for p in network.parameters()) == setting.num_parameters


def test_operations_are_those_that_torch_counts_in_a_step():
    setting = Setting(20)
    module = VAEGANModule(config_of(setting))
    x, eps = torch.rand(BATCH_SIZE, 784), torch.randn(BATCH_SIZE, 20)
    with FlopCounterMode(display=False) as counter:
        terms = module.terms(x, x, eps, None)
        discriminator = module.model.discriminator_parameters()
        torch.autograd.grad(terms["discriminator_loss"], discriminator, retain_graph=True)
        torch.autograd.grad(module._minimised(terms), module.model.vae_parameters())
    assert counter.get_total_flops() == setting.operations
