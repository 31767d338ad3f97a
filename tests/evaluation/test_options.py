"""The options of an evaluation, as conf/evaluate.yaml gives them."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from vaegan import cli, config
from vaegan.errors import UserError
from vaegan.evaluation.options import GROUPS, Options


def read(*overrides: str) -> Options:
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("evaluate", ["run=a", *overrides]), resolve=True)
    return config.read(Options, values)


def test_by_default_everything_is_measured():
    options = read()
    assert options.metrics == GROUPS and options.run == ("a",)
    assert options.likelihood.num_samples == 500 and options.generation.num_samples == 10_000


def test_one_word_stands_for_a_list_of_one():
    assert read("metrics=loss").metrics == ("loss",)
    assert read("run=[a,b]", "metrics=[loss,latent]").run == ("a", "b")
    assert read("reconstruction.sigmas=0.5").reconstruction.sigmas == (0.5,)


@pytest.mark.parametrize(
    "override, sentence",
    [
        ("metrics=[]", "metrics must be a list, each one of loss, "),
        ("metrics=[loss,latemt]", "did you mean latent?"),
        ("metrics=[1]", "metrics must be a list"),
        ("metrics=null", "metrics must be a list"),
        ("reconstruction.sigmas=[0.5,-1]", "reconstruction.sigmas must be a list, each a number >= 0"),
        ("likelihood.binarisation=fix", "did you mean fixed?"),
        ("seed=-1", "seed must be a whole number >= 0"),
        ("+likelihood.k=3", "likelihood.k is not an option"),
    ],
)
def test_what_an_option_cannot_be(override, sentence):
    with pytest.raises(UserError, match=sentence.replace("?", r"\?")):
        read(override)
