"""conf/: every experiment composes, says how to run it, and is what its name says."""

import pytest
from conftest import make_config

from vaegan import cli

EXPERIMENTS = sorted(path.stem for path in (cli.CONF / "experiment").glob("*.yaml"))


def test_the_promised_experiments_are_there():
    assert (
        sorted(
            [
                "vaegan",
                "vaegan_bn",
                "denoise",
                "denoise_bn",
                "latent2",
                "latent2_bn",
                "latent100",
                "latent100_bn",
                "latent500",
                "latent500_bn",
                "smoke",
                "vaegan_tuned",
                "denoise10",
            ]
        )
        == EXPERIMENTS
    )


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes_and_its_header_says_command_time_and_result(name):
    config = make_config(f"+experiment={name}")
    text = (cli.CONF / "experiment" / f"{name}.yaml").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert f"python -m vaegan.train +experiment={name}" in text
    assert any("time" in line.lower() for line in header)
    assert any("expect" in line.lower() for line in header)
    if name not in ("smoke", "vaegan_tuned", "denoise10"):  # those of the paper
        assert config.model.batch_norm == name.endswith("_bn")
        assert config.data.name == "mnist"
        assert config.data.num_val == 0
        assert config.trainer.max_epochs == 10
        assert config.optimizer.vae.lr == (1e-4 if name.startswith("latent500") else 1e-3)
        assert config.optimizer.discriminator.lr == 1e-3
        assert config.data.noise_std == (0.5 if name.startswith("denoise") else 0)
        assert config.data.batch_size == (128 if name.startswith("latent500") else 2000)


@pytest.mark.parametrize(
    "name, latent_dim", [("vaegan_bn", 50), ("denoise", 100), ("latent2", 2), ("latent2_bn", 2), ("latent500", 500)]
)
def test_latent_sizes(name, latent_dim):
    model = make_config(f"+experiment={name}").model
    assert (model.latent_dim, model.hidden_dim) == (latent_dim, latent_dim**2)


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "kmnist", "digits"])
def test_every_data_set_composes(data):
    assert make_config(f"data={data}").data.name == data


def test_own_files_compose_with_what_only_the_user_knows():
    data = make_config("data=own", "data.root=mine", "data.num_images=5000").data
    assert (data.name, data.root, data.num_images) == ("own", "mine", 5000)


def test_hydra_finds_nothing_unchecked():
    """Each file under conf/ is YAML of a group that config.py knows."""
    groups = {path.name for path in cli.CONF.iterdir() if path.is_dir()}
    assert groups == {
        "data",
        "model",
        "objective",
        "optimizer",
        "trainer",
        "train",
        "logger",
        "experiment",
        "sweep",
        "hydra",
    }
