"""Every option is checked: unknown keys, types, ranges, contradictions."""

import copy
import subprocess
import sys

import pytest
from conftest import compose_values, make_config

from vaegan import config
from vaegan.errors import UserError

VALUES = compose_values()


def with_value(name: str, value: object) -> dict:
    values = copy.deepcopy(VALUES)
    *groups, key = name.split(".")
    branch = values
    for group in groups:
        branch = branch[group]
    branch[key] = value
    return values


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("data.noise_std", -0.1, "a number >= 0"),
        ("data.noise_std", float("nan"), "a number >= 0"),
        ("data.noise_std", float("inf"), "a number >= 0"),
        ("data.noise_std", "abc", "a number >= 0"),
        ("data.noise_std", True, "a number >= 0"),
        ("data.noise_std", None, "a number >= 0"),
        ("data.noise_clip", 1, "true or false"),
        ("data.batch_size", 1, "a whole number >= 2"),
        ("data.num_images", 0, "null or a whole number >= 1"),
        ("data.batch_size", 128.0, "a whole number >= 2"),
        ("data.name", "minst", "did you mean mnist?"),
        ("model.latent_dim", 0, "a whole number >= 1"),
        ("model.hidden_dim", "wide", "null or a whole number >= 1"),
        ("model.dropout", 1.0, "a number >= 0 and < 1"),
        ("objective.kind", "vegan", "one of autoencoder, vae, gan, vaegan"),
        ("objective.fakes", "priors", "did you mean prior?"),
        ("objective.kind", ["vae"], "one of autoencoder, vae, gan, vaegan"),
        ("optimizer.vae.lr", 0, "a number > 0"),
        ("optimizer.vae.betas", [0.9], "a list of 2 numbers"),
        ("optimizer.vae.betas", [0.9, 1.0], "< 1"),
        ("optimizer.schedule", "linear", "one of none, step, cosine, plateau"),
        ("trainer.precision", "16", "one of auto, 32-true, bf16-mixed"),
        ("trainer", 5, "a group of options"),
        ("seed", -1, "a whole number >= 0"),
        ("seed", 2**32, "a whole number"),
        ("trainer.max_epochs", 2**63, "a whole number >= 1"),
        ("data.root", "a\0b", r"not 'a\x00b'"),
        ("data.root", ["a"] * 99, "not ['a', 'a', 'a', "),
    ],
)
def test_wrong_value_names_key_expectation_and_value(name, value, expected):
    with pytest.raises(UserError) as error:
        config.check(with_value(name, value))
    assert name in str(error.value)
    assert expected in str(error.value)


def test_a_number_too_long_to_be_written_is_refused_all_the_same():
    with pytest.raises(UserError, match=r"seed must be .*, not a number of thousands of digits\."):
        config.check(with_value("seed", 10**5000))


@pytest.mark.parametrize(
    "name, suggestion",
    [
        ("data.nois_std", "did you mean data.noise_std?"),
        ("model.batchnorm", "did you mean model.batch_norm?"),
        ("noise_std", "did you mean data.noise_std?"),
        ("objective.betta", "did you mean objective.beta?"),
        ("trainer.qqq", "`python -m vaegan.config` lists all."),
    ],
)
def test_unknown_key_names_the_nearest(name, suggestion):
    with pytest.raises(UserError) as error:
        config.check(with_value(name, 1))
    assert str(error.value).startswith(f"{name} is not an option")
    assert str(error.value).endswith(suggestion)


def test_missing_key_is_named():
    values = copy.deepcopy(VALUES)
    del values["model"]["dropout"]
    with pytest.raises(UserError, match=r"model\.dropout is missing; .*a number >= 0 and < 1"):
        config.check(values)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["data.batch_size=60001"], "mnist leaves 60000 training images"),
        (["data=digits", "data.num_val=1450"], "digits leaves 50 training images"),
        (["data=digits", "data.num_val=1500"], "only 1500 training images"),
        (["data=digits", "data.num_images=1501"], "data.num_images is 1501, but digits has only 1500 training images"),
        (["data=digits", "data.num_images=99"], "digits leaves 99 training images"),
        (["data=digits", "data.num_images=500", "data.num_val=500"], "only 500 training images used in all"),
        (["data=own", "data.num_images=500"], "data.root is null, but data=own"),
        (["data=own", "data.root=mine"], "data.num_images is null, but data=own needs it"),
        (
            ["data=own", "data.root=mine", "data.num_images=9000", "data.num_val=7001"],
            "own leaves 1999 training images",
        ),
        (["objective=gan", "data.noise_std=0.5"], "no encoder"),
        (["objective=gan", "model.batch_norm_output=true"], "no encoder"),
        (["objective=vae", "+objective.adversarial_weight=1"], "chosen objective"),
        (["trainer.devices=3", "data.batch_size=100"], "trainer.devices=3"),
    ],
)
def test_contradictions_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        make_config(*overrides)


def test_hidden_dim_defaults_to_latent_dim_squared():
    assert make_config("model.latent_dim=7").model.hidden_dim == 49
    assert make_config("model.latent_dim=7", "model.hidden_dim=10").model.hidden_dim == 10


def test_whole_numbers_become_floats_where_a_float_is_meant():
    lr = make_config("optimizer.vae.lr=1").optimizer.vae.lr
    assert lr == 1.0
    assert isinstance(lr, float)


@pytest.mark.parametrize("objective", ["autoencoder", "vae", "gan", "vaegan"])
def test_to_dict_and_back(objective):
    checked = make_config(f"objective={objective}", "seed=3")
    assert config.check(config.to_dict(checked)) == checked


def test_every_option_has_a_meaning_and_is_listed():
    listing = config.describe()
    for name in config.flatten(VALUES):
        assert name in config.option_names()
        row = next(line for line in listing.splitlines() if line.startswith(f"{name} "))
        assert len(row.split("  ")[-1]) > 3


def test_listing_command_needs_no_torch():
    code = (
        "import sys, runpy; runpy.run_module('vaegan.config', run_name='__main__'); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "data.noise_std" in done.stdout


def test_an_option_younger_than_a_run_is_what_the_run_did_before():
    values = config.to_dict(make_config())
    del values["data"]["held_out_class"], values["data"]["num_images"], values["logger"]["metrics_every_n_epochs"]
    assert config.check(values) == make_config()
    identity = config.identity(make_config())
    assert "data.held_out_class" not in identity  # so that sweeps know the jobs they ran before there was the option
    assert config.identity(make_config("data.held_out_class=3")) == identity | {"data.held_out_class": 3}


def test_the_folder_tells_own_files_apart_and_not_where_a_known_data_set_lies():
    own = [make_config("data=own", f"data.root={root}", "data.num_images=5000") for root in ("a", "b")]
    assert config.identity(own[0]) != config.identity(own[1])
    assert config.identity(make_config("data.root=a")) == config.identity(make_config("data.root=b"))
    assert own[0].data.num_train == 5000


def test_a_subset_is_another_run():
    assert make_config("data.num_images=5000", "data.num_val=1000").data.num_train == 4000
    assert config.identity(make_config("data.num_images=5000"))["data.num_images"] == 5000
