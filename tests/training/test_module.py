"""One training step against the paper's equations, written a second time with torch's own losses and autograd."""

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import SMALL, fit, make_config
from pytorch_lightning import Callback
from torch import nn
from torch.distributions import Normal, kl_divergence

from vaegan import randomness
from vaegan.data import sources
from vaegan.data.batches import pixels
from vaegan.training.module import VAEGANModule

OBJECTIVES = [
    ["objective=autoencoder", "data.noise_clip=false"],
    ["objective=vae", "objective.beta=0.7"],
    ["objective=gan"],
    *[
        ["objective=vaegan", f"objective.fakes={fakes}", "objective.beta=1.3", "objective.adversarial_weight=20"]
        for fakes in ("prior", "reconstruction", "both")
    ],
]


class Watch(Callback):
    """Keeps one step's batch, the model before it, and the gradients that the optimizers were given in it."""

    def __init__(self, step: int = 0):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.step:
            self.x = pixels(batch[0])
            self.model = copy.deepcopy(pl_module.model)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.gradients = {name: copy.deepcopy(p.grad) for name, p in pl_module.model.named_parameters()}


def draws(config, x: torch.Tensor, step: int = 0) -> dict[str, torch.Tensor]:
    """What a step of the first epoch draws."""
    shapes = {"noise": x.shape, "eps": (len(x), config.model.latent_dim), "prior": (len(x), config.model.latent_dim)}
    return {name: randomness.normal(shape, x.device, config.seed, name, 0, step) for name, shape in shapes.items()}


def written_losses(model: nn.Module, config, x: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The two losses in the words of the paper: probabilities, BCELoss, torch's KL; in double precision."""
    objective, drawn = config.objective, {name: draw.double() for name, draw in draws(config, x, step).items()}
    x = x.double()
    x_noisy = x + config.data.noise_std * drawn["noise"]
    x_noisy = x_noisy.clamp(0, 1) if config.data.noise_clip else x_noisy
    loss, fakes = 0.0, []
    if objective.kind != "gan":
        mu, logvar = model.encoder(x_noisy)
        sigma = (logvar / 2).exp()
        z = mu if objective.kind == "autoencoder" else mu + drawn["eps"] * sigma
        x_hat = torch.sigmoid(model.decoder(z))
        loss = loss + F.binary_cross_entropy(x_hat, x, reduction="none").sum(1).mean()
        if objective.kind != "autoencoder":
            kl = kl_divergence(Normal(mu, sigma), Normal(0.0, 1.0)).sum(1).mean()
            loss = loss + objective.beta * kl
        if objective.fakes in ("reconstruction", "both"):
            fakes.append(x_hat)
    if objective.fakes in ("prior", "both"):
        fakes.append(torch.sigmoid(model.decoder(drawn["prior"])))
    if not fakes:
        return loss, None

    def bce_of_discriminator(images, label):
        d = torch.sigmoid(model.discriminator(images))
        return F.binary_cross_entropy(d, torch.full_like(d, label))

    weight = 1.0 if objective.kind == "gan" else objective.adversarial_weight
    loss = loss + weight * sum(bce_of_discriminator(fake, 1.0) for fake in fakes) / len(fakes)
    discriminator_loss = bce_of_discriminator(x, 1.0) + sum(
        bce_of_discriminator(fake.detach(), 0.0) for fake in fakes
    ) / len(fakes)
    return loss, discriminator_loss


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    "objective", OBJECTIVES, ids=lambda overrides: "-".join(o.split("=")[1] for o in overrides[:2])
)
def test_each_optimizer_gets_the_gradient_of_its_own_loss(objective, batch_norm):
    noise = "0" if "objective=gan" in objective else "0.3"
    options = (f"model.batch_norm={batch_norm}", f"data.noise_std={noise}", "data.batch_size=20")
    config = make_config(*SMALL, *objective, *options)
    watch = Watch(step=1)  # the second step, which would show what the first left behind
    fit(VAEGANModule(config), watch, max_steps=2)

    model = watch.model.double()
    loss, discriminator_loss = written_losses(model, config, watch.x, step=1)
    expected = {}
    for network_loss, networks in ((loss, ("encoder", "decoder")), (discriminator_loss, ("discriminator",))):
        names = [name for name, _ in model.named_parameters() if name.startswith(networks)]
        if not names:
            continue
        parameters = dict(model.named_parameters())
        # retain: the written losses share the encoder's and decoder's forward pass.
        gradients = torch.autograd.grad(
            network_loss, [parameters[n] for n in names], retain_graph=True, allow_unused=True
        )
        expected |= dict(zip(names, gradients, strict=True))
    assert expected.keys() == watch.gradients.keys()
    for network in {name.partition(".")[0] for name in expected}:
        mine = {name: gradient for name, gradient in expected.items() if name.startswith(network)}
        # Relative to the network's gradient: a bias in front of BatchNorm has gradient 0, which float32 only nears.
        scale = max(gradient.abs().max().item() for gradient in mine.values())
        assert scale > 0
        for name, gradient in mine.items():
            wrong = (watch.gradients[name].double() - gradient).abs() > 1e-4 * scale
            # A hidden unit at 0 to float32's accuracy is on in one computation and off in the other: one row in hundreds.
            assert wrong.double().mean().item() < 0.01, name


def test_the_adversarial_gradient_makes_fakes_more_convincing():
    """The sign, once more, by moving: against the decoder's gradient, D(fake) rises; against the discriminator's, it falls."""
    config = make_config(*SMALL, "objective=gan", "model.batch_norm=false")
    module, watch = VAEGANModule(config), Watch()
    before = copy.deepcopy(module.model)
    fit(module, watch, max_steps=1)
    z = draws(config, watch.x)["prior"]

    def d_fake_after_moving(network: str) -> float:
        model = copy.deepcopy(before)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.startswith(network):
                    parameter -= 0.05 * watch.gradients[name]
            return model.discriminate(model.generate(z)).sigmoid().mean().item()

    start = before.discriminate(before.generate(z)).sigmoid().mean().item()
    assert d_fake_after_moving("decoder") > start + 1e-5
    assert d_fake_after_moving("discriminator") < start - 1e-5


@pytest.mark.parametrize("frozen, moving", [("discriminator", "decoder"), ("vae", "discriminator")])
def test_a_step_of_one_optimizer_leaves_the_other_networks_bitwise_unchanged(frozen, moving):
    config = make_config(*SMALL, f"optimizer.{frozen}.lr=1e-30", "model.batch_norm=false")
    module = VAEGANModule(config)
    before = copy.deepcopy(module.model.state_dict())
    fit(module, max_steps=3)
    networks = ("encoder", "decoder") if frozen == "vae" else ("discriminator",)
    for name, tensor in module.model.state_dict().items():
        if name.startswith(networks):
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(t, before[n]) for n, t in module.model.state_dict().items() if n.startswith(moving))


@pytest.mark.parametrize("fakes, decoder, discriminator", [("prior", 2, 2), ("reconstruction", 1, 2), ("both", 2, 3)])
def test_batch_norm_statistics_move_once_per_forward_pass_of_a_step(fakes, decoder, discriminator):
    config = make_config(*SMALL, f"objective.fakes={fakes}")
    module = VAEGANModule(config)
    fit(module)  # an epoch of 15 steps and its evaluation, which must move nothing
    counted = {name: network[1].num_batches_tracked.item() for name, network in module.model.named_children()}
    assert counted == {"encoder": 15, "decoder": 15 * decoder, "discriminator": 15 * discriminator}


def test_the_discriminators_batch_norm_sees_real_and_fake_apart_real_first():
    config = make_config(*SMALL, "objective.fakes=prior")
    module, watch = VAEGANModule(config), Watch()
    model = copy.deepcopy(module.model).train()
    fit(module, watch, max_steps=1)
    fake = model.generate(draws(config, watch.x)["prior"])
    linear = model.discriminator[0]
    mean = torch.zeros(256)
    for images in (watch.x, fake):
        mean = 0.9 * mean + 0.1 * linear(images).mean(dim=0)
    torch.testing.assert_close(module.model.discriminator[1].running_mean, mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "setting",
    [
        *([*objective, "data.noise_std=0.3"] for objective in OBJECTIVES if "objective=gan" not in objective),
        ["objective=gan", "model.dropout=0.2"],
        ["objective.fakes=both", "trainer.precision=bf16-mixed", "optimizer.vae.weight_decay=0.1"],
    ],
    ids=lambda setting: "-".join(o.split("=")[1] for o in setting[:2]),
)
def test_with_little_memory_each_weight_is_stepped_alone_and_becomes_bitwise_the_same(setting):
    numbers = set()

    class Count(Callback):
        def on_train_start(self, trainer, pl_module):
            optimizer = trainer.optimizers[0]
            parameters = optimizer.param_groups[0]["params"]
            optimizer.register_step_pre_hook(lambda *_: numbers.add(sum(p.grad is not None for p in parameters)))

    states = []
    for low_memory in (False, True):
        numbers.clear()
        module = VAEGANModule(make_config(*SMALL, *setting, f"train.low_memory={low_memory}"))
        trainer = fit(module, Count(), max_steps=3)
        states.append([module.model.state_dict(), *(optimizer.state_dict() for optimizer in trainer.optimizers)])
        assert trainer.global_step == 3
    assert numbers == {0, 1}  # 0: where Lightning counts the step
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_global_step_counts_batches():
    trainer = fit(VAEGANModule(make_config(*SMALL)), max_epochs=2)
    assert trainer.global_step == 2 * 15


def test_metrics_are_means_over_the_epoch_of_each_split(monkeypatch):
    """Nothing moves, so every number can be computed in one piece: noise, prior draws, splits and weights included."""
    monkeypatch.setattr("vaegan.data.module.EVALUATION_BATCH", 90)  # 297 test images: three batches and a short one
    still = ("optimizer.vae.lr=1e-30", "optimizer.discriminator.lr=1e-30", "model.batch_norm=false")
    config = make_config(
        *SMALL, *still, "data.num_val=200", "data.noise_std=0.4", "objective.fakes=both", "objective.beta=3"
    )
    module = VAEGANModule(config)
    fit(module)
    model, metrics = module.model, module.metrics
    images = sources.load("digits", None)
    splits = {"val": images.train_images[1300:], "test": images.test_images}
    for split, raw in splits.items():
        parts = torch.from_numpy(raw).split(90)

        def drawn(purpose, width, split=split, parts=parts):
            keyed = (config.seed, f"{split} {purpose}")
            return torch.cat(
                [randomness.normal((len(p), width), torch.device("cpu"), *keyed, i) for i, p in enumerate(parts)]
            )

        x = torch.from_numpy(raw).float() / 255
        mu, logvar = model.encode((x + 0.4 * drawn("noise", 784)).clamp(0, 1))
        x_hat, x_prior = model.generate(mu), model.generate(drawn("prior", 4))
        reconstruction = F.binary_cross_entropy(x_hat, x, reduction="none").sum(1).mean().item()
        kl = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).mean(0)
        d_real, d_hat, d_prior = (model.discriminate(image).sigmoid() for image in (x, x_hat, x_prior))
        expected = {
            "loss": reconstruction + kl.sum().item(),  # the paper's: without beta, without the adversary
            "reconstruction": reconstruction,
            "kl": kl.sum().item(),
            "adversarial": -(d_hat.log().mean() + d_prior.log().mean()).item() / 2,
            "discriminator_loss": -(d_real.log().mean() + ((1 - d_hat).log() + (1 - d_prior).log()).mean() / 2).item(),
            "d_real": d_real.mean().item(),
            "d_fake": (d_hat.mean() + d_prior.mean()).item() / 2,
        }
        assert {name.partition("/")[2] for name in metrics if name.startswith(split)} == expected.keys()
        for name, value in expected.items():
            assert metrics[f"{split}/{name}"] == pytest.approx(value, rel=1e-4), (split, name)
    assert module.kl_per_dimension == pytest.approx(kl.tolist(), rel=1e-3)  # of the test set
    weighted = metrics["train/reconstruction"] + 3 * metrics["train/kl"] + metrics["train/adversarial"]
    assert metrics["train/loss"] == pytest.approx(weighted)


def test_evaluation_noise_is_the_same_for_every_epoch_and_every_model():
    def noisy(*overrides: str, epoch: int = 0) -> torch.Tensor:
        module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5", *overrides))
        x = torch.full((500, 784), 0.5)
        return module.draws(x, 3, evaluating="test ")[0]

    reference = noisy()
    for overrides in (["model.latent_dim=9"], ["model.batch_norm=false"], ["objective=vae"], ["data.batch_size=37"]):
        assert torch.equal(noisy(*overrides), reference)
    assert not torch.equal(noisy("seed=1"), reference)


def test_training_noise_differs_from_step_to_step_and_epoch_to_epoch():
    module = VAEGANModule(make_config(*SMALL, "data.noise_std=0.5"))
    x = torch.full((4, 784), 0.5)
    seen = [module.draws(x, epoch, step)[0] for epoch in range(2) for step in range(2)]
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("objective", ["autoencoder", "vae", "vaegan"])
def test_losses_stay_near_under_bf16(objective):
    """bf16 products, float32 losses: one epoch's losses agree with float32's within a per cent."""
    losses = {}
    for precision in ("32-true", "bf16-mixed"):
        module = VAEGANModule(make_config(*SMALL, f"objective={objective}", f"trainer.precision={precision}"))
        fit(module)
        losses[precision] = module.metrics["test/loss"]
        assert all(p.dtype == torch.float32 for p in module.parameters())
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.01)
    assert losses["bf16-mixed"] != losses["32-true"]


def test_dropout_is_keyed_by_the_step():
    losses = []
    for disturbance in range(2):
        torch.manual_seed(disturbance)
        module = VAEGANModule(make_config(*SMALL, "model.dropout=0.3"))
        fit(module, max_steps=4)
        losses.append(module.model.state_dict())
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (["optimizer.schedule=none"], [1e-3, 1e-3, 1e-3, 1e-3]),
        (["optimizer.schedule=step", "optimizer.step_size=2", "optimizer.gamma=0.1"], [1e-3, 1e-3, 1e-4, 1e-4]),
        (["optimizer.schedule=cosine"], [1e-3, 0.8535534e-3, 0.5e-3, 0.1464466e-3]),
    ],
)
def test_schedules_move_both_learning_rates_by_epochs(schedule, expected):
    seen = []

    class Rates(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            seen.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])

    fit(VAEGANModule(make_config(*SMALL, *schedule, "trainer.max_epochs=4")), Rates(), max_epochs=4)
    assert [rates[0] for rates in seen] == pytest.approx(expected)
    assert [rates[1] for rates in seen] == pytest.approx(expected)


def test_plateau_decays_when_the_validation_loss_stops_falling():
    config = make_config(
        *SMALL, "optimizer.schedule=plateau", "optimizer.patience=0", "optimizer.gamma=0.1", "data.num_val=100",
        "optimizer.vae.lr=1e-30", "model.batch_norm=false",
    )  # fmt: skip
    trainer = fit(VAEGANModule(config), max_epochs=3)
    assert trainer.optimizers[1].param_groups[0]["lr"] == pytest.approx(1e-5)  # decayed after epochs 2 and 3


def test_optimizers_are_fused_and_have_their_own_settings():
    config = make_config(
        *SMALL, "optimizer.vae.lr=3e-4", "optimizer.discriminator.betas=[0.5,0.9]", "optimizer.vae.weight_decay=0.01"
    )
    trainer = fit(VAEGANModule(config), max_steps=1)
    vae, discriminator = (optimizer.param_groups[0] for optimizer in trainer.optimizers)
    assert (vae["lr"], vae["betas"], vae["weight_decay"], vae["fused"]) == (3e-4, (0.9, 0.999), 0.01, True)
    assert (discriminator["lr"], discriminator["betas"], discriminator["weight_decay"]) == (1e-3, (0.5, 0.9), 0.0)


def test_sixteen_images_can_be_learned_by_heart():
    """Their binary cross-entropy comes near its least value, the entropy of their grey pixels."""
    config = make_config(*SMALL, "objective=autoencoder", "model.latent_dim=16", "optimizer.vae.lr=3e-3")
    module = VAEGANModule(config)
    x = pixels(torch.from_numpy(sources.load("digits", None).train_images[:16]))
    (optimizer,), _ = module.configure_optimizers()
    for _ in range(400):
        optimizer.zero_grad()
        loss = module.terms(x, x, None, None)["reconstruction"]
        loss.backward()
        optimizer.step()
    entropy = -(torch.xlogy(x, x) + torch.xlogy(1 - x, 1 - x)).sum(1).mean().item()
    assert entropy < loss.item() < 1.05 * entropy
