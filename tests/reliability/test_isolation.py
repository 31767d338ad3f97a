"""Each optimizer moves its own networks and nothing else; a seed is a run."""

import itertools

import torch
from conftest import fit, make_config
from pytorch_lightning import Callback
from runs_compared import assert_same_training

from vaegan.training.module import VAEGANModule

RUN = ("data=digits", "data.batch_size=100", "model.latent_dim=4", "trainer.max_epochs=1", "trainer.accelerator=cpu")
RUN += ("logger.tensorboard=false",)
FAKES = ("prior", "reconstruction", "both")


class OnlyOneSteps(Callback):
    """Lets one optimizer step and compares the other's parameters after every batch, bit for bit."""

    def __init__(self, stepping: int, trial):
        self.stepping = stepping
        self.trial = trial

    def on_train_start(self, trainer, pl_module):
        still = trainer.optimizers[1 - self.stepping]
        still.step = lambda *arguments, **options: None

    def on_train_batch_start(self, trainer, pl_module, *_):
        self.before = [[p.detach().clone() for p in parameters(optimizer)] for optimizer in trainer.optimizers]

    def on_train_batch_end(self, trainer, pl_module, *_):
        still, moved = 1 - self.stepping, self.stepping
        unchanged = [
            torch.equal(a, b) for a, b in zip(self.before[still], parameters(trainer.optimizers[still]), strict=True)
        ]
        changed = [
            not torch.equal(a, b)
            for a, b in zip(self.before[moved], parameters(trainer.optimizers[moved]), strict=True)
        ]
        self.trial(all(unchanged) and all(changed), f"optimizer {moved}: {unchanged} {changed}")


def parameters(optimizer) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def test_a_step_moves_its_own_networks_and_no_other(scenario, trials):
    with scenario("11 Isolation: a step of one optimizer leaves the other's networks bitwise unchanged") as t:
        for fakes, batch_norm in itertools.islice(itertools.product(FAKES, (True, False)), 0, None, trials(5, 1)):
            for stepping in (0, 1):
                config = make_config(*RUN, f"objective.fakes={fakes}", f"model.batch_norm={batch_norm}")
                fit(VAEGANModule(config), OnlyOneSteps(stepping, t.trial))


def test_batch_norm_statistics_move_as_documented(scenario, trials):
    """As vaegan/training/module.py says: how often each network's statistics move in an epoch of 15 steps."""
    passes = {"prior": (1, 2, 2), "reconstruction": (1, 1, 2), "both": (1, 2, 3)}  # of encoder, decoder, discriminator
    with scenario("11 Isolation: BatchNorm statistics move once per forward pass of a step, in evaluation never") as t:
        for fakes in FAKES[: trials(1, 3)]:
            module = VAEGANModule(make_config(*RUN, f"objective.fakes={fakes}"))
            fit(module)
            for network, times in zip(("encoder", "decoder", "discriminator"), passes[fakes], strict=True):
                counted = getattr(module.model, network)[1].num_batches_tracked.item()
                t.trial(counted == 15 * times, f"{fakes} {network}: {counted}")
            before = {name: tensor.clone() for name, tensor in module.model.state_dict().items()}
            module.model.eval()
            x = torch.rand(50, 784)
            module.terms(x, x, None, torch.randn(50, 4))
            after = module.model.state_dict()
            t.trial(all(torch.equal(before[name], after[name]) for name in before), "evaluation moved something")


def test_a_seed_is_a_run(run_digits, scenario, trials):
    with scenario("11 Isolation: the same seed is bitwise the same run, another is another") as t:
        for seed in range(trials(1, 5)):
            options = (f"seed={seed}", "data.noise_std=0.3", "objective.fakes=both", "model.dropout=0.1")
            first = run_digits(*options, folder=f"a{seed}")
            torch.manual_seed(123)
            second = run_digits(*options, folder=f"b{seed}")
            try:
                assert_same_training(first, second)
                t.trial(True)
            except AssertionError as error:
                t.trial(False, error)
            other = run_digits(*options[1:], f"seed={seed + 100}", folder=f"c{seed}")
            t.trial(first.metrics.read_bytes() != other.metrics.read_bytes(), f"seeds {seed} and {seed + 100} are one")
