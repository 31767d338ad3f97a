"""What the README tells a person to type works as printed."""

import re
from pathlib import Path

from conftest import make_config
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from vaegan import cli, config

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_own_experiment_works_as_printed(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "wide_denoiser.yaml").write_text(block)
    with initialize_config_dir(config_dir=str(cli.CONF), version_base="1.3"):
        path = f"hydra.searchpath=[{tmp_path}]"
        composed = OmegaConf.to_container(compose("config", [path, "+experiment=wide_denoiser"]), resolve=True)
    checked = config.check(composed)
    assert (checked.model.hidden_dim, checked.data.noise_std, checked.objective.fakes) == (1024, 0.75, "both")
    assert checked.model.batch_norm  # from denoise_bn


def test_the_python_snippet_works_as_printed(run_digits):
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    folder = run_digits("trainer.max_epochs=1")
    names: dict = {}
    exec(block.replace("outputs/denoise_bn/<time>", str(folder)), names)  # our own README, not a user's file
    assert names["images"].shape == names["clean"].shape == (16, 784)
    assert names["mu"].shape == (16, 4)
    names["images"].numpy()


def test_every_option_of_the_table_exists():
    table = README[README.index("| option | values |") : README.index("A mistyped option")]
    names = re.findall(r"`([a-z_]+\.[a-z_]+)`", table)
    assert len(names) > 10
    assert set(names) <= set(config.option_names())


def test_every_command_s_experiment_exists():
    for name in re.findall(r"\+experiment=([a-z0-9_,]+)", README):
        for part in name.split(","):
            assert part in ("wide_denoiser", "glob") or make_config(f"+experiment={part}")
