"""The same model trained in different ways. Each function trains for ever; the clock stops it between rounds."""

import sys
import tempfile
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from benchmarks.clock import Clock
from benchmarks.settings import BATCH_SIZE, DISCRIMINATOR_HIDDEN, NUM_PIXELS, Setting


def networks(setting: Setting) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Encoder, decoder and discriminator of the paper, from the same seed."""
    torch.manual_seed(0)

    def layers(num_in: int, hidden: int, num_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(num_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, num_out)
        )

    d, h = setting.latent_dim, setting.hidden_dim
    return layers(NUM_PIXELS, h, 2 * d), layers(d, h, NUM_PIXELS), layers(NUM_PIXELS, DISCRIMINATOR_HIDDEN, 1)


def mnist_folder() -> str:
    """Where vaegan keeps MNIST, laid out as torchvision wants it."""
    from vaegan.data import sources

    root = sources.default_root()
    sources.load("mnist", root)  # fetched if need be
    return str(root)


def tutorial(setting: Setting, clock: Clock, num_workers: int = 0) -> None:
    """(a) As tutorials do it: torchvision, ToTensor, DataLoader, default Adam, a second pass for the second loss, .item()."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    encoder, decoder, discriminator = networks(setting)
    data = MNIST(mnist_folder(), transform=ToTensor())
    loader = DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True, num_workers=num_workers)
    vae_optimizer = Adam([*encoder.parameters(), *decoder.parameters()], setting.learning_rate)
    optimizer = Adam(discriminator.parameters(), setting.learning_rate)
    bce = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones(BATCH_SIZE, 1), torch.zeros(BATCH_SIZE, 1)
    clock.begin()
    while True:
        for images, _ in loader:
            x = images.flatten(1)
            with mixed(setting):
                mu, logvar = encoder(x).chunk(2, dim=1)
                z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
                logits = decoder(z)
                fake = torch.sigmoid(logits)
                on_fake = discriminator(fake)
            mu, logvar = mu.float(), logvar.float()
            reconstruction = bce(logits.float(), x, reduction="sum") / len(x)
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
            loss = reconstruction + kl + bce(on_fake.float(), ones)
            vae_optimizer.zero_grad()
            loss.backward()
            vae_optimizer.step()

            with mixed(setting):
                on_real, on_fake = discriminator(x), discriminator(fake.detach())
            d_loss = bce(on_real.float(), ones) + bce(on_fake.float(), zeros)
            optimizer.zero_grad()
            d_loss.backward()
            optimizer.step()
            loss.item(), d_loss.item()
            clock.step(reconstruction + kl)


def hand(setting: Setting, clock: Clock) -> None:
    """(b) A page of PyTorch that computes nothing twice and waits for nothing."""
    from torchvision.datasets import MNIST

    encoder, decoder, discriminator = networks(setting)
    images = MNIST(mnist_folder()).data.view(-1, NUM_PIXELS)
    vae = [*encoder.parameters(), *decoder.parameters()]
    critic = list(discriminator.parameters())
    optimizers = [Adam(vae, setting.learning_rate, fused=True), Adam(critic, setting.learning_rate, fused=True)]
    clock.begin()
    while True:
        for indices in torch.randperm(len(images)).split(BATCH_SIZE):
            if len(indices) < BATCH_SIZE:
                break
            x = images[indices].float().div_(255)
            with mixed(setting):
                mu, logvar = encoder(x).chunk(2, dim=1)
                z = torch.addcmul(mu, torch.randn(mu.shape), torch.exp(0.5 * logvar))
                logits = decoder(z).float()
                fake = torch.sigmoid(logits)
                on_real, on_fake = discriminator(x).float(), discriminator(fake).float()
            mu, logvar = mu.float(), logvar.float()
            reconstruction = (F.softplus(logits) - x * logits).sum() / BATCH_SIZE
            kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum() / BATCH_SIZE
            d_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            for optimizer in optimizers:
                optimizer.zero_grad()
            d_loss.backward(inputs=critic, retain_graph=True)
            (reconstruction + kl + F.softplus(-on_fake).mean()).backward(inputs=vae)
            for optimizer in optimizers:
                optimizer.step()
            clock.step(reconstruction + kl)


def hand_without(setting: Setting, clock: Clock, technique: str) -> None:
    """The hand loop with one technique turned off; "nothing": with all of them, vaegan's own among them."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    from vaegan import losses
    from vaegan.training.adam import FusedAdam
    from vaegan.training.memory import keep_freed_memory

    if technique == "the faster library for float32 products":
        other = {"medium": "highest", "highest": "medium"}[torch.get_float32_matmul_precision()]
        torch.set_float32_matmul_precision(other)
    if technique != "keeping freed memory":
        keep_freed_memory()
    encoder, decoder, discriminator = networks(setting)
    images = MNIST(mnist_folder()).data.view(-1, NUM_PIXELS)
    vae, critic = [*encoder.parameters(), *decoder.parameters()], list(discriminator.parameters())
    fused = technique != "fused Adam"
    adam = FusedAdam if fused and technique != "less done around Adam" else Adam
    optimizers = [adam(vae, setting.learning_rate, fused=fused), adam(critic, setting.learning_rate, fused=fused)]

    def batches() -> Iterator[Tensor]:
        if technique == "images in memory":
            data = MNIST(mnist_folder(), transform=ToTensor())
            yield from (x.flatten(1) for x, _ in DataLoader(data, BATCH_SIZE, shuffle=True, drop_last=True))
        else:
            for indices in torch.randperm(len(images)).split(BATCH_SIZE)[:-1]:
                yield images[indices].float().div_(255)

    clock.begin()
    while True:
        for x in batches():
            with mixed(setting):
                mu, logvar = encoder(x).chunk(2, dim=1)
                logits = decoder(torch.addcmul(mu, torch.randn(mu.shape), torch.exp(0.5 * logvar))).float()
                fake = torch.sigmoid(logits)
                on_real, on_fake = discriminator(x).float(), discriminator(fake).float()
            if technique == "the cheaper reconstruction term":
                reconstruction = (F.softplus(logits) - x * logits).sum() / BATCH_SIZE
            else:
                reconstruction = losses.reconstruction(logits, x)
            kl = losses.kl_per_dimension(mu, logvar).sum()
            loss = reconstruction + kl + losses.adversarial(on_fake)
            if technique == "one forward pass of the fakes":
                gradients = torch.autograd.grad(loss, vae)
                with mixed(setting):
                    on_fake = discriminator(fake.detach())
            d_loss = losses.discriminator(on_real, on_fake)
            if technique == "gradients of one's own parameters only":
                for optimizer in optimizers:
                    optimizer.zero_grad()
                d_loss.backward(retain_graph=True)
                of_critic = [p.grad.clone() for p in critic]
                for parameter in vae:
                    parameter.grad = None
                loss.backward()
                for parameter, gradient in zip(critic, of_critic, strict=True):
                    parameter.grad = gradient
            else:
                of_critic = torch.autograd.grad(d_loss, critic, retain_graph=True)
                if technique != "one forward pass of the fakes":
                    gradients = torch.autograd.grad(loss, vae)
                for parameter, gradient in zip([*vae, *critic], [*gradients, *of_critic], strict=True):
                    parameter.grad = gradient
            for optimizer in optimizers:
                optimizer.step()
            if technique == "reading no value in the step":
                loss.item(), d_loss.item()
            clock.step(reconstruction + kl)


TECHNIQUES = (
    "images in memory",
    "the faster library for float32 products",
    "fused Adam",
    "less done around Adam",
    "the cheaper reconstruction term",
    "one forward pass of the fakes",
    "gradients of one's own parameters only",
    "keeping freed memory",
    "reading no value in the step",
)


def pythae(setting: Setting, clock: Clock) -> None:
    """(d) pythae 0.1.2's VAE-GAN and its trainer. Its objective is another one: feature matching, and prior draws as fakes."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAEGAN, VAEGANConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseDiscriminator, BaseEncoder
    from pythae.trainers import CoupledOptimizerAdversarialTrainer, CoupledOptimizerAdversarialTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback
    from torchvision.datasets import MNIST

    encoder, decoder, discriminator = networks(setting)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = encoder

        def forward(self, x: Tensor) -> ModelOutput:
            mu, logvar = self.layers(x.flatten(1)).chunk(2, dim=1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = decoder

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.layers(z)).view(-1, 1, 28, 28))

    class Discriminator(BaseDiscriminator):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = discriminator[:3], discriminator[3]
            self.depth = 2

        def forward(self, x: Tensor, output_layer_levels: list[int] | None = None) -> ModelOutput:
            hidden = self.first(x.flatten(1))
            if output_layer_levels == [1]:
                return ModelOutput(embedding_layer_1=hidden)
            return ModelOutput(embedding=torch.sigmoid(self.last(hidden)))

    class Ticks(TrainingCallback):
        def on_train_step_end(self, *_: object, **__: object) -> None:
            clock.step(torch.zeros(()))

    images = MNIST(mnist_folder()).data[:, None].float() / 255
    config = VAEGANConfig(input_dim=(1, 28, 28), latent_dim=setting.latent_dim, reconstruction_layer=1)
    model = VAEGAN(config, Encoder(), Decoder(), Discriminator())
    options = CoupledOptimizerAdversarialTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1000,
        per_device_train_batch_size=BATCH_SIZE,
        encoder_learning_rate=setting.learning_rate,
        decoder_learning_rate=setting.learning_rate,
        discriminator_learning_rate=setting.learning_rate,
        no_cuda=True,
        amp=setting.precision != "32-true",
    )
    data = BaseDataset(images, torch.zeros(len(images)))
    trainer = CoupledOptimizerAdversarialTrainer(model, data, training_config=options, callbacks=[Ticks()])
    clock.begin()
    trainer.train()


def lightning(setting: Setting, clock: Clock) -> None:
    """(e) As Lightning's own GAN example is written: toggled optimizers, values logged in each step, its loader and bar."""
    import pytorch_lightning as pl
    from torch.utils.data import DataLoader
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    bce = F.binary_cross_entropy_with_logits

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.encoder, self.decoder, self.discriminator = networks(setting)

        def training_step(self, batch: tuple[Tensor, Tensor]) -> None:
            x = batch[0].flatten(1)
            vae_optimizer, optimizer = self.optimizers()
            self.toggle_optimizer(vae_optimizer)
            mu, logvar = self.encoder(x).chunk(2, dim=1)
            z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
            logits = self.decoder(z)
            fake = torch.sigmoid(logits)
            valid = torch.ones(len(x), 1).type_as(x)
            mu, logvar = mu.float(), logvar.float()
            reconstruction = bce(logits.float(), x, reduction="sum") / len(x)
            kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp()) / len(x)
            g_loss = reconstruction + kl + bce(self.discriminator(fake).float(), valid)
            self.log_dict({"g_loss": g_loss, "reconstruction": reconstruction, "kl": kl}, prog_bar=True)
            self.manual_backward(g_loss)
            vae_optimizer.step()
            vae_optimizer.zero_grad()
            self.untoggle_optimizer(vae_optimizer)

            self.toggle_optimizer(optimizer)
            real_loss = bce(self.discriminator(x).float(), valid)
            fake_loss = bce(self.discriminator(fake.detach()).float(), torch.zeros(len(x), 1).type_as(x))
            d_loss = real_loss + fake_loss
            self.log("d_loss", d_loss, prog_bar=True)
            self.manual_backward(d_loss)
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)
            self.loss = reconstruction + kl

        def configure_optimizers(self) -> tuple[list[Adam], list]:
            vae = [*self.encoder.parameters(), *self.decoder.parameters()]
            return [Adam(vae, setting.learning_rate), Adam(self.discriminator.parameters(), setting.learning_rate)], []

    class Ticks(pl.Callback):
        def on_train_start(self, *_: object) -> None:
            clock.begin()

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
            clock.step(pl_module.loss)

    loader = DataLoader(MNIST(mnist_folder(), transform=ToTensor()), BATCH_SIZE, shuffle=True, drop_last=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1000,
        precision=setting.precision,
        default_root_dir=tempfile.mkdtemp(),
        callbacks=[Ticks()],
    )
    trainer.fit(Module(), loader)


def vaegan(setting: Setting, clock: Clock, *overrides: str) -> None:
    """T: `python -m vaegan.train`, with its logging, evaluation, pictures and checkpoints, and a callback that ticks."""
    command(clock, *setting.options, "trainer.max_epochs=1000", *overrides)


def compiled(setting: Setting, clock: Clock) -> None:
    """T with its step compiled."""
    vaegan(setting, clock, "train.compile=true")


def smoke(setting: Setting, clock: Clock) -> None:
    """The experiment with which one sees whether everything works."""
    command(clock, "+experiment=smoke")


def command(clock: Clock, *overrides: str) -> None:
    """`python -m vaegan.train` with these overrides."""
    import pytorch_lightning as pl

    from vaegan import train
    from vaegan.training import setup

    class Ticks(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            backward = pl_module._backward

            def noted(*arguments: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
                terms, sums = backward(*arguments)
                self.loss = terms["reconstruction"] + terms["kl"]
                return terms, sums

            pl_module._backward = noted
            clock.begin()
            self.has_begun = False

        def on_train_epoch_start(self, *_: object) -> None:
            if self.has_begun:
                clock.epoch()
            self.has_begun = True

        def on_train_batch_end(self, *_: object) -> None:
            clock.step(self.loss)

        def on_validation_start(self, *_: object) -> None:
            clock.note("steps_seconds")

        def on_validation_end(self, *_: object) -> None:
            clock.note("evaluated_seconds")

    set_up = setup.set_up

    def set_up_with_clock(*arguments: object) -> tuple:
        made = set_up(*arguments)
        made[0].callbacks.insert(0, Ticks())
        return made

    setup.set_up = set_up_with_clock
    folder = tempfile.mkdtemp()
    sys.argv = ["vaegan.train", *overrides, f"hydra.run.dir={folder}"]
    train.main()


def mixed(setting: Setting) -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16, enabled=setting.precision != "32-true")


CONTESTANTS = {
    "tutorial": tutorial,
    "hand": hand,
    "pythae": pythae,
    "lightning": lightning,
    "vaegan": vaegan,
    "compiled": compiled,
    "smoke": smoke,
    "hand_without": hand_without,
}
