"""What was tried and dropped: other ways to compute forward pass and gradients of one step, beside the plain one."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.progress import Progress
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Adam

from benchmarks.contestants import networks
from benchmarks.settings import BATCH_SIZE, NUM_PIXELS, Setting
from vaegan import losses
from vaegan.training.memory import keep_freed_memory
from vaegan.training.precision import set_matmul_precision

_CALLS, _ROUNDS = 30, 12


def dropped(progress: Progress) -> dict[str, dict[str, Any]]:
    """{d: what was found}: milliseconds, medians of rounds by turns."""
    set_matmul_precision("auto", torch.device("cpu"))
    keep_freed_memory()
    task = progress.add_task("tried and dropped", total=2)
    found = {}
    for latent_dim in (2, 20):
        found[str(latent_dim)] = _gradients(latent_dim) | _adam(latent_dim) | _products(latent_dim)
        progress.advance(task)
    progress.remove_task(task)
    return found


def _gradients(latent_dim: int) -> dict[str, float]:
    """Forward pass and both gradients: plain; traced into one graph; and plain with a batch of two images."""
    encoder, decoder, critic = networks(Setting(latent_dim))
    vae, own = [*encoder.parameters(), *decoder.parameters()], list(critic.parameters())

    def plain(x: Tensor, eps: Tensor) -> list[Tensor]:
        mu, logvar = encoder(x).chunk(2, dim=1)
        logits = decoder(torch.addcmul(mu, eps, torch.exp(0.5 * logvar)))
        on_real, on_fake = critic(x), critic(logits.sigmoid())
        loss = (
            losses.reconstruction(logits, x) + losses.kl_per_dimension(mu, logvar).sum() + losses.adversarial(on_fake)
        )
        of_critic = torch.autograd.grad(losses.discriminator(on_real, on_fake), own, retain_graph=True)
        return [loss.detach(), *torch.autograd.grad(loss, vae), *of_critic]

    def batch(size: int) -> tuple[Tensor, Tensor]:
        return torch.rand(size, NUM_PIXELS), torch.randn(size, latent_dim)

    whole, two = batch(BATCH_SIZE), batch(2)
    traced = make_fx(plain)(*whole)

    def without_autograd() -> None:  # the gradients are part of the graph
        with torch.no_grad():
            traced(*whole)

    return _by_turns({"plain": lambda: plain(*whole), "traced": without_autograd, "two images": lambda: plain(*two)})


def _adam(latent_dim: int) -> dict[str, float]:
    """torch's fused Adam on the model's parameters, and on one tensor that holds all of them."""
    parameters = [p for network in networks(Setting(latent_dim)) for p in network.parameters()]
    flat = [torch.nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))]
    for p in [*parameters, *flat]:
        p.grad = torch.randn_like(p)
    return _by_turns(
        {"Adam": Adam(parameters, fused=True).step, "Adam on one tensor": Adam(flat, fused=True).step},
    )


def _products(latent_dim: int) -> dict[str, float]:
    """A step's products, with activations as they are, (batch, features), and kept the other way round, (features, batch)."""
    encoder, decoder, critic = (
        [layer for layer in network if isinstance(layer, nn.Linear)] for network in networks(Setting(latent_dim))
    )
    batch_first: list[Callable[[], Tensor]] = []
    features_first: list[Callable[[], Tensor]] = []

    def add(weight: Tensor, bias: Tensor, forward: bool, of_input: bool) -> None:
        """A layer's forward pass and its weights' gradient, if `forward`; the gradient of its input, if `of_input`."""
        x, gradient = (torch.randn(BATCH_SIZE, size) for size in reversed(weight.shape))
        x_t, gradient_t = x.t().contiguous(), gradient.t().contiguous()
        if forward:
            batch_first.extend([lambda: torch.addmm(bias, x, weight.t()), lambda: gradient.t() @ x])
            features_first.extend([lambda: torch.addmm(bias[:, None], weight, x_t), lambda: gradient_t @ x_t.t()])
        if of_input:
            batch_first.append(lambda: gradient @ weight)
            features_first.append(lambda: weight.t() @ gradient_t)

    for layers, is_of_code in ((encoder, False), (decoder, True), (critic, False), (critic, False)):
        for number, layer in enumerate(layers):
            add(layer.weight.detach(), layer.bias.detach(), forward=True, of_input=is_of_code or number > 0)
    for layer in critic:  # back through the discriminator to the fakes
        add(layer.weight.detach(), layer.bias.detach(), forward=False, of_input=True)
    return _by_turns(
        {
            "products": lambda: [product() for product in batch_first],
            "features first": lambda: [product() for product in features_first],
        }
    )


def _by_turns(functions: dict[str, Callable[[], Any]]) -> dict[str, float]:
    milliseconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(_ROUNDS):
        for name, function in functions.items():
            started = time.perf_counter()
            for _ in range(_CALLS):
                function()
            milliseconds[name].append(1e3 * (time.perf_counter() - started) / _CALLS)
    return {name: statistics.median(values) for name, values in milliseconds.items()}
