"""One training step: forward once, two losses, two gradients, two optimizers.

Which forward passes move BatchNorm's running statistics: every one of a training step, and a training step makes just
these: the encoder once; the decoder once on z and, with prior fakes, once on prior draws (so its statistics serve both
reconstruction and generation); the discriminator once on the real batch and once on each kind of fakes, apart. Evaluation
moves none.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, ReduceLROnPlateau, StepLR

from vaegan import config, losses, randomness
from vaegan.data.batches import pixels
from vaegan.data.corruption import corrupt
from vaegan.errors import UserError
from vaegan.model import VAEGAN
from vaegan.training.adam import FusedAdam
from vaegan.training.means import RunningMeans
from vaegan.training.memory import moves_one_by_one
from vaegan.training.parallel import ALONE, Group
from vaegan.training.watch import Watch, first_not_finite, gradient_sum


class VAEGANModule(LightningModule):
    """The VAE-GAN of one configuration under Lightning's manual optimization.

    After each epoch `metrics` holds its means as plain floats, {"train/loss": ..., "test/kl": ...}: losses in nats per
    image, d_real and d_fake as mean probabilities. train/loss is the weighted sum that was minimised; val/loss and
    test/loss are reconstruction + KL with z = mu, the paper's "test set loss" (no bound on the likelihood).
    """

    def __init__(self, config: config.Config, group: Group = ALONE):
        super().__init__()
        self.automatic_optimization = False
        self.config = config
        self.group = group
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.key(config.seed, "weights"))
            self.model = VAEGAN(config.model, config.objective)
        group.synchronize_batch_norm(self.model)
        self.metrics: dict[str, float] = {}
        self.kl_per_dimension: list[float] | None = None  # d values, of the test set
        self._means: dict[str, RunningMeans] = defaultdict(RunningMeans)
        self._watch = Watch()
        self._moves_one_by_one = moves_one_by_one(config, sum(p.numel() for p in self.model.parameters()))
        self._compiled: Callable[..., Any] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 784) -> its reconstruction, from z = mu."""
        return self.model.reconstruct(x)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        for optimizer in self.trainer.optimizers:
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.grad = None  # its memory is free for the step
        x = pixels(batch[0])
        draws = self.draws(x, self.current_epoch, batch_idx)
        terms, sums = self._backward(*map(self.group.share, (x, *draws)))
        self._step_optimizers()
        terms = dict(zip(terms, self.group.average(list(terms.values())), strict=True))
        self._means["train"].add(terms, weight=len(x))
        scalars = {f"train/{name}": term for name, term in terms.items() if term.dim() == 0}
        sums = {f"the gradient of {name}": total for name, total in sums.items()}
        self._watch.add(self.trainer.global_step, scalars | sums)

    def _backward(self, *batch: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Give each weight its gradient; encoder and decoder may be moved by theirs already, see `_move_while_going_back`.

        Returns (`terms` of one batch, for each optimizer's name a sum that is not finite if its gradients are not).
        """
        if self._moves_one_by_one:
            return self._move_while_going_back(*batch)
        terms, gradients = self._compute(*batch)
        moved = self._moved()
        return terms, {name: self._give(moved[name], of) for name, of in zip(moved, gradients, strict=True)}

    def _move_while_going_back(self, *batch: Tensor | None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """`_backward` where each weight of encoder and decoder is moved when its gradient is known, which is then freed.

        Memory is needed for one gradient instead of all, or, if prior draws are decoded too, for the decoder's. The weights
        become what they would have become, because no operation that is yet to be gone back over needs a moved weight: each
        that does is a part of that weight's gradient.
        """
        terms = self.terms(*batch)
        (name, of_vae), *others = self._moved().items()
        optimizer, sums_of_vae = self.trainer.optimizers[0], []

        def move(parameter: nn.Parameter) -> None:
            self.group.average_gradients([parameter])
            if parameter.dim() == 1:
                sums_of_vae.append(gradient_sum([parameter]))
            optimizer.step()  # of this one alone: no other has a gradient
            parameter.grad = None

        sums = {}
        for other, parameters in others:
            gradients = torch.autograd.grad(terms["discriminator_loss"], parameters, retain_graph=True)
            sums[other] = self._give(parameters, gradients)
        hooks = [parameter.register_post_accumulate_grad_hook(move) for parameter in of_vae]
        try:
            self._minimised(terms).backward(inputs=of_vae)
        finally:
            for hook in hooks:
                hook.remove()
        return {name: term.detach() for name, term in terms.items()}, {name: torch.stack(sums_of_vae).sum()} | sums

    def _give(self, parameters: list[nn.Parameter], gradients: Sequence[Tensor]) -> Tensor:
        """Give `parameters` their gradients, averaged over the group; returns their `gradient_sum`."""
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.group.average_gradients(parameters)
        return gradient_sum(parameters)

    def _compute(self, *batch: Tensor | None) -> tuple[dict[str, Tensor], list[tuple[Tensor, ...]]]:
        """`gradients`, compiled if that was asked for."""
        if self.config.train.compile and self._compiled is None:
            from vaegan.training.compiled import Compiled  # torch's compiler takes seconds to import

            self._compiled = Compiled(self.gradients, self.model, batch)
        return (self._compiled or self.gradients)(*batch)

    def gradients(self, *batch: Tensor | None) -> tuple[dict[str, Tensor], list[tuple[Tensor, ...]]]:
        """(`terms` of one batch, gradients): those that each optimizer takes of its own loss, for what it moves and nothing else.

        Both are taken before either optimizer moves a weight, so the fakes need the discriminator's forward pass only once.
        This is what manual_backward does in float32 and bf16-mixed, which need no scaling, without asking Lightning's plugins.
        """
        terms = self.terms(*batch)
        of_vae, *of_discriminator = self._moved().values()
        # The discriminator's first: its graph is part of the other's.
        gradients = [
            torch.autograd.grad(terms["discriminator_loss"], parameters, retain_graph=True)
            for parameters in of_discriminator
        ]
        gradients.insert(0, torch.autograd.grad(self._minimised(terms), of_vae))
        return {name: term.detach() for name, term in terms.items()}, gradients

    def _moved(self) -> dict[str, list[nn.Parameter]]:
        """What each optimizer moves, by its name."""
        names = ("encoder and decoder", "the discriminator")
        return {name: one.param_groups[0]["params"] for name, one in zip(names, self.trainer.optimizers, strict=False)}

    def check_finite(self, weights: bool = False) -> None:
        """Look at what has been watched since the last call. Waits for the device, so not in every step.

        Args:
            weights: look at every weight and BatchNorm statistic, too, as before they are kept.

        Raises:
            UserError: something was not finite; the message names what, and the step.
        """
        if found := self._watch.take_first_not_finite():
            name, step, value = found
            raise UserError(f"{name} is {value} at step {step}, so training stops; try a lower learning rate.")
        if weights and (name := first_not_finite(self.model.state_dict())):
            raise UserError(
                f"{name} is no longer finite at step {self.trainer.global_step}, so training stops; try a lower learning rate."
            )

    def terms(self, x: Tensor, x_noisy: Tensor, eps: Tensor | None, z_prior: Tensor | None) -> dict[str, Tensor]:
        """Every term of the objective for one batch: scalars, and kl_per_dimension (d,).

        Args:
            x: clean images (B, 784), the target and the discriminator's real samples.
            x_noisy: what the encoder sees (B, 784).
            eps: N(0, I) draws (B, d) of the reparameterisation; None for z = mu.
            z_prior: N(0, I) draws (B, d) decoded as fakes; None if the objective uses none.
        """
        model, objective = self.model, self.config.objective
        terms: dict[str, Tensor] = {}
        fakes: list[Tensor] = []
        if "reconstruction" in objective.weights:
            mu, logvar = model.encode(x_noisy)
            logits = model.decode(mu if eps is None else model.reparameterize(mu, logvar, eps))
            terms["reconstruction"] = losses.reconstruction(logits, x)
            if "kl" in objective.weights:
                terms["kl_per_dimension"] = losses.kl_per_dimension(mu, logvar)
                terms["kl"] = terms["kl_per_dimension"].sum()
            if objective.fakes in ("reconstruction", "both"):
                fakes.append(logits.float().sigmoid())
        if z_prior is not None:
            fakes.append(model.generate(z_prior))
        if "adversarial" in objective.weights:
            logits_real = model.discriminate(x)
            logits_fake = torch.cat([model.discriminate(fake) for fake in fakes])
            terms["adversarial"] = losses.adversarial(logits_fake)
            terms["discriminator_loss"] = losses.discriminator(logits_real, logits_fake)
            terms["d_real"] = logits_real.detach().float().sigmoid().mean()
            terms["d_fake"] = logits_fake.detach().float().sigmoid().mean()
        return terms

    def draws(self, x: Tensor, *position: int, evaluating: str = "") -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(x_noisy, eps, z_prior) for the batch at `position`; at evaluation eps is None, because z = mu."""
        data, objective, seed = self.config.data, self.config.objective, self.config.seed
        shape = (len(x), self.model.latent_dim)
        x_noisy, eps, z_prior = x, None, None
        if data.noise_std > 0:
            noise = randomness.normal(x.shape, x.device, seed, f"{evaluating}noise", *position)
            x_noisy = corrupt(x, noise, data.noise_std, data.noise_clip)
        if "kl" in objective.weights and not evaluating:
            eps = randomness.normal(shape, x.device, seed, "eps", *position)
        if objective.fakes in ("prior", "both"):
            z_prior = randomness.normal(shape, x.device, seed, f"{evaluating}prior", *position)
        if self.config.model.dropout > 0 and not evaluating:
            purpose = f"dropout {self.group.rank}" if self.group.rank else "dropout"
            torch.manual_seed(randomness.key(seed, purpose, *position))  # nn.Dropout takes no generator
        return x_noisy, eps, z_prior

    def _minimised(self, terms: dict[str, Any]) -> Any:
        """The first optimizer's loss: the objective's terms, weighted."""
        weights = self.config.objective.weights.items()
        first, *others = [terms[name] if weight == 1 else weight * terms[name] for name, weight in weights]
        return sum(others, first)

    def _step_optimizers(self) -> None:
        """Lightning counts a step whenever one of its wrapped optimizers steps. Only the first is stepped through its
        wrapper, so that global_step, and with it max_steps, is the number of batches.
        """
        wrapped = self.optimizers()
        (wrapped[0] if isinstance(wrapped, list) else wrapped).step()
        for optimizer in self.trainer.optimizers[1:]:
            optimizer.step()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:
        split = self.trainer.datamodule.evaluation_splits[dataloader_idx]
        x = pixels(batch[0])
        x_noisy, eps, z_prior = self.draws(x, batch_idx, evaluating=f"{split} ")
        self._means[split].add(self.terms(x, x_noisy, eps, z_prior), weight=len(x))

    def on_fit_start(self) -> None:
        self._compiled = None  # of the tensors of an earlier fit

    def on_train_epoch_start(self) -> None:
        self.metrics = {}

    def on_validation_start(self) -> None:
        self.check_finite()

    def on_validation_epoch_end(self) -> None:
        for split in self.trainer.datamodule.evaluation_splits:
            means = self._means[split].take()
            self.kl_per_dimension = means.pop("kl_per_dimension", None)
            if "reconstruction" in means:
                self.metrics[f"{split}/loss"] = means["reconstruction"] + means.get("kl", 0.0)
            self.metrics |= {f"{split}/{name}": mean for name, mean in means.items()}

    def on_train_epoch_end(self) -> None:
        means = self._means["train"].take()
        means.pop("kl_per_dimension", None)
        losses_of_epoch = {"loss": self._minimised(means)} | means
        self.metrics = {f"train/{name}": mean for name, mean in losses_of_epoch.items()} | self.metrics
        self.log_dict(self.metrics, logger=False)  # for users' own callbacks, such as EarlyStopping
        schedulers = self.lr_schedulers() or []
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self.metrics.get("val/loss", self.metrics["train/loss"]))
            else:
                scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = config.to_dict(self.config)
        checkpoint["train_means"] = self._means["train"].state()  # of the epoch so far

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "train_means" in checkpoint:  # vaegan 0.1 wrote checkpoints only between epochs
            self._means["train"].restore(checkpoint["train_means"])

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        options = self.config.optimizer
        groups = [(self.model.vae_parameters(), options.vae)]
        if self.model.discriminator is not None:
            groups.append((self.model.discriminator_parameters(), options.discriminator))
        optimizers = [_adam(parameters, adam) for parameters, adam in groups]
        if options.schedule == "none":
            return optimizers, []
        return optimizers, [_schedule(optimizer, self.config) for optimizer in optimizers]


def _adam(parameters: list[nn.Parameter], options: config.Adam) -> Adam:
    # torch's default on a CPU is a loop 2 to 5 times slower.
    kind = FusedAdam if parameters[0].device.type in ("cpu", "cuda") else Adam
    return kind(
        parameters, lr=options.lr, betas=options.betas, weight_decay=options.weight_decay, fused=kind is FusedAdam
    )


def _schedule(optimizer: Optimizer, config: config.Config) -> LRScheduler:
    options = config.optimizer
    if options.schedule == "step":
        return StepLR(optimizer, options.step_size, options.gamma)
    if options.schedule == "cosine":
        return CosineAnnealingLR(optimizer, config.trainer.max_epochs)
    return ReduceLROnPlateau(optimizer, factor=options.gamma, patience=options.patience)
