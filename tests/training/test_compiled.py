"""A compiled step does what the plain one does, which tests/training/test_module.py checks.

With torch's own code generation: tests/reliability/test_resume.py.
"""

import copy

import pytest
import torch
import torch._inductor.config
from conftest import SMALL, fit, make_config
from pytorch_lightning import Callback
from torch._dynamo.backends.debugging import aot_eager

from vaegan.data.batches import pixels
from vaegan.errors import UserError
from vaegan.training import compiled
from vaegan.training.module import VAEGANModule

SETTINGS = [
    ("objective=autoencoder", "data.noise_std=0.3"),
    ("objective=vae", "objective.beta=0.7", "model.dropout=0.2"),
    ("objective=gan",),
    ("objective=vaegan", "objective.fakes=both", "objective.adversarial_weight=20", "data.noise_std=0.3"),
    ("objective=vaegan", "objective.fakes=reconstruction", "model.batch_norm_output=true", "model.dropout=0.2"),
    ("objective=vaegan", "objective.fakes=prior", "trainer.precision=bf16-mixed"),
]


class AfterTwoSteps(Callback):
    """Keeps gradients and state of the model after its second step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.gradients = {name: copy.deepcopy(p.grad) for name, p in pl_module.model.named_parameters()}
        self.state = copy.deepcopy(pl_module.model.state_dict())


def two_steps(*overrides: str) -> AfterTwoSteps:
    kept = AfterTwoSteps()
    fit(VAEGANModule(make_config(*SMALL, "model.batch_norm=true", *overrides)), kept, max_steps=2)
    return kept


@pytest.fixture
def traced_only(monkeypatch):
    """torch runs the graph as it was written down: in a second instead of half a minute."""
    monkeypatch.setattr(compiled, "standalone_compile", lambda graph, tensors, **_: aot_eager(graph, tensors))


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: "-".join(o.split("=")[1] for o in setting))
def test_the_graph_holds_the_whole_step(setting, traced_only):
    plain, graph = two_steps(*setting), two_steps(*setting, "train.compile=true")
    networks = {name.partition(".")[0] for name in plain.gradients}
    for kind in ("gradients", "state"):
        expected, found = getattr(plain, kind), getattr(graph, kind)
        assert expected.keys() == found.keys()
        for network in networks:
            names = [name for name in expected if name.startswith(network)]
            scale = max(expected[name].abs().max().item() for name in names)
            for name in names:
                torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5 * scale)


def test_another_model_in_the_same_process_has_its_own_graph(traced_only):
    first = two_steps("train.compile=true")
    two_steps("train.compile=true", "seed=1")
    again = two_steps("train.compile=true")
    assert all(torch.equal(first.gradients[name], again.gradients[name]) for name in first.gradients)


def test_a_batch_of_another_shape_goes_the_plain_way(traced_only):
    found = []

    class Half(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            half = pixels(batch[0])[:50]
            found.extend(of(half, half, torch.ones(50, 4), None) for of in (pl_module._compute, pl_module.gradients))

    fit(VAEGANModule(make_config(*SMALL, "train.compile=true", "objective.fakes=reconstruction")), Half(), max_steps=1)
    torch.testing.assert_close(*found)


def test_compiled_code_sees_weights_that_have_moved_and_leaves_draws_as_they_are():
    """torch's own compiler, of products alone, for which it needs no C++."""
    layer = torch.nn.Linear(3, 3, bias=False)

    def gradients(x, noisy, missing):
        return {"loss": layer(x)}, [(x @ noisy, noisy @ torch.rand(3, 3))]

    x, noisy = torch.rand(2, 3, 3)
    before = torch.get_rng_state()
    step = compiled.Compiled(gradients, layer, (x, noisy, None))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.no_grad():
        layer.weight.add_(1)
    found = step(x, noisy, None)
    torch.set_rng_state(before)
    torch.testing.assert_close(found, gradients(x, noisy, None))


def test_without_a_compiler_one_is_asked_for(run_digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    cxx = torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)})  # CXX is read where torch is imported
    with (
        cxx,
        pytest.raises(
            UserError, match=r"train.compile=true, .*\(.+\).* C\+\+ compiler .*, and .*compiled, .*train.compile=false"
        ),
    ):
        run_digits("train.compile=true")


def test_several_devices_are_refused():
    with pytest.raises(UserError, match="train.compile=true .* trainer.devices is 2"):
        make_config(*SMALL, "train.compile=true", "trainer.devices=2")
