"""A sweep's configurations are those that Hydra composes, though it composes few of them."""

import sys

import pytest
from omegaconf import OmegaConf

from vaegan import train
from vaegan.sweeping import composing

CASES = [
    (1, ["seed=range(5)"]),
    (1, ["model.latent_dim=2,20", "model.batch_norm=true,false", "seed=0,1"]),
    (2, ["data=digits,mnist", "seed=0,1,2"]),
    (2, ["+experiment=vaegan,denoise", "data.noise_std=0.25,0.5", "hydra.launcher.jobs_at_once=1"]),
    (1, ["seed=0,1", "seed=2,3"]),
    (1, ["+sweep=adversarial"]),
    (4, ["+sweep=paper"]),
    # A value made of another, null, text that looks like something else.
    (1, ["model.hidden_dim='${model.latent_dim}',7", "model.latent_dim=2,3"]),
    (1, ["trainer.max_steps=null,5", "data.root='~',a,'1','null',null"]),
    # What is merged with what was there, adds or takes away may depend on the order, so all of it is Hydra's.
    (2, ["optimizer.vae.betas=[0.5,0.9],[0.9,0.99]"]),
    (2, ["model.latent_dim=2,3", "model={latent_dim:4}"]),
    (4, ["model={latent_dim:4},{latent_dim:5}", "model.latent_dim=2,3"]),
    (4, ["++seed=1,2", "+mine=1,2"]),
    (2, ["~seed", "model.latent_dim=2,3"]),
]


@pytest.mark.parametrize("composed_by_hydra, arguments", CASES, ids=[" ".join(arguments) for _, arguments in CASES])
def test_each_job_is_what_hydra_composes(monkeypatch, tmp_path, composed_by_hydra, arguments):
    monkeypatch.chdir(tmp_path)
    asked = []

    def compared(loader, sweep, grid, folder):
        load = loader.load_sweep_config
        monkeypatch.setattr(loader, "load_sweep_config", lambda *given: asked.append(given) or load(*given))
        found = compose(loader, sweep, grid, folder)
        assert len(found) == len(grid) > 1
        for lines, composition in zip(grid, found, strict=True):
            expected = load(sweep, lines)
            hydra = expected.hydra
            expected = OmegaConf.masked_copy(expected, [key for key in expected if key != "hydra"])
            assert composition.values == OmegaConf.to_container(expected, resolve=True)
            assert composition.overrides == hydra.overrides.task
            assert composition.experiment == hydra.runtime.choices.get("experiment", "default")
        sys.exit(77)  # nothing is run

    compose = composing.compose
    monkeypatch.setattr(composing, "compose", compared)
    monkeypatch.setattr(sys, "argv", ["vaegan.train", "-m", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # the command sets it for its process, which here is not its own
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 77
    assert len(asked) == composed_by_hydra
