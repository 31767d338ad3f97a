"""Which jobs a sweep has and what they are called; the named sweeps of conf/sweep."""

import itertools
import sys
from pathlib import Path

import pytest
from conftest import compose_values

from vaegan import cli, config, train
from vaegan.errors import UserError
from vaegan.runs import RunFolder, SweepFolder
from vaegan.sweeping import jobs, running


def composition(*overrides: str) -> cli.Composition:
    experiment = dict(override.split("=") for override in overrides).get("+experiment", "default")
    return cli.Composition(compose_values(*overrides), list(overrides), experiment, Path("unused"), in_sweep=True)


def names(swept: list[str], *jobs_overrides: tuple[str, ...], folder: Path) -> list[str]:
    return [job.name for job in jobs.lay_out([composition(*one) for one in jobs_overrides], swept, folder)]


@pytest.mark.parametrize(
    "overrides, swept, name",
    [
        (("+experiment=denoise_bn", "seed=3"), ["+experiment", "seed"], "denoise_bn-seed3"),
        (("model.batch_norm=true",), ["model.batch_norm"], "batch_norm"),
        (("model.batch_norm=False",), ["model.batch_norm"], "no_batch_norm"),
        (("data.noise_std=0.25", "seed=0"), ["data.noise_std"], "noise_std0.25"),
        (("optimizer.vae.lr=1e-3",), ["optimizer.vae.lr"], "lr1e-3"),
        (
            ("optimizer.vae.lr=1e-3", "optimizer.discriminator.lr=2e-3"),
            ["optimizer.vae.lr", "optimizer.discriminator.lr"],
            "optimizer_vae_lr1e-3-optimizer_discriminator_lr2e-3",
        ),
        (("objective=vae",), ["objective"], "vae"),
        (("objective.fakes=both",), ["objective.fakes"], "fakes_both"),
        (("optimizer.vae.betas=[0.5,0.9]",), ["optimizer.vae.betas"], "betas_0.5_0.9"),
        (("+experiment=vaegan",), [], "vaegan"),
    ],
)
def test_a_job_is_named_by_what_differs(tmp_path, overrides, swept, name):
    assert names(swept, overrides, folder=tmp_path) == [name]


def test_names_are_safe_and_short(tmp_path):
    root = "data.root=" + "long/../ folder;" * 20
    value = cli.Composition(compose_values("seed=1"), [root], "default", Path("unused"), True)
    [job] = jobs.lay_out([value], ["data.root"], tmp_path)
    assert len(job.name) <= 80
    assert set(job.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert ".." not in Path(job.name).parts


def test_equal_configurations_are_one_job(tmp_path):
    assert names(["seed"], ("seed=0",), ("seed=0",), folder=tmp_path) == ["seed0"]


def test_a_known_job_keeps_its_name_however_the_sweep_is_narrowed(tmp_path):
    both = jobs.lay_out([composition("seed=0"), composition("seed=1")], ["seed"], tmp_path)
    jobs.write_down(both, tmp_path)
    assert names([], ("seed=1",), folder=tmp_path) == ["seed1"]


def test_a_name_never_stands_for_two_configurations(tmp_path):
    first = jobs.lay_out([composition("seed=0")], ["seed"], tmp_path)
    jobs.write_down(first, tmp_path)
    [changed] = names(["seed"], ("seed=0", "trainer.max_epochs=20"), folder=tmp_path)
    assert changed.startswith("seed0-")
    assert names(["seed"], ("seed=0",), folder=tmp_path) == ["seed0"]
    # What is in sweep.json is asked for; what is in the folder counts too.
    foreign = RunFolder(tmp_path / "seed1")
    foreign.path.mkdir()
    foreign.write_config(jobs.lay_out([composition("seed=1", "model.latent_dim=3")], [], tmp_path)[0].config)
    assert names(["seed"], ("seed=1",), folder=tmp_path) != ["seed1"]


def test_a_run_that_is_there_already_is_found_without_sweep_json(tmp_path):
    folder = RunFolder(tmp_path / "seed0")
    folder.path.mkdir()
    # trainer.precision=auto is stored as what it meant.
    stored = jobs.lay_out([composition("seed=0", "trainer.precision=bf16-mixed")], [], tmp_path)[0].config
    folder.write_config(stored)
    assert names(["seed"], ("seed=0", "trainer.precision=auto"), folder=tmp_path) == ["seed0"]
    assert names(["seed"], ("seed=0", "trainer.precision=32-true"), folder=tmp_path) != ["seed0"]


def test_earlier_jobs_stay_written_down(tmp_path):
    for seed in (0, 1):
        jobs.write_down(jobs.lay_out([composition(f"seed={seed}")], ["seed"], tmp_path), tmp_path)
    assert list(SweepFolder(tmp_path).read_jobs()) == ["seed0", "seed1"]


@pytest.mark.parametrize(
    "swept, experiment, name",
    [
        (["model.batch_norm", "seed"], "vaegan", "vaegan-batch_norm-seed"),
        (["+experiment", "seed"], None, "experiment-seed"),
        ([], None, "default"),
    ],
)
def test_a_sweep_without_a_name_is_called_by_what_it_sweeps_over(swept, experiment, name):
    assert jobs.sweep_name(swept, experiment) == name


def test_small_jobs_share_the_cores_and_large_ones_do_not(tmp_path):
    small = jobs.lay_out(
        [composition("model.latent_dim=20", f"seed={n}", "trainer.accelerator=cpu") for n in range(3)],
        ["seed"],
        tmp_path,
    )
    [large] = jobs.lay_out([composition("model.latent_dim=21", "trainer.accelerator=cpu")], [], tmp_path)
    slots = running._Slots(2, None, [*small, large])
    assert slots.fit(small[0], [])
    assert slots.fit(small[1], small[:1])
    assert not slots.fit(small[2], small[:2])
    assert not slots.fit(large, small[:1])
    assert slots.fit(large, [])
    assert not slots.fit(small[0], [large])
    assert [slots.threads(job) for job in (small[0], large)] == [1, None]
    two = running._Slots(8, 2, [*small, large])
    assert two.fit(large, [large]) and not two.fit(large, [large, large])
    assert two.threads(large) == 4


def laid_out(monkeypatch, *arguments: str) -> tuple[list[jobs.Job], Path]:
    """The jobs that the command would run."""
    captured = []

    def capture(found: list[jobs.Job], folder: Path, run: object) -> int:
        captured.append((found, folder))
        return 0

    monkeypatch.setattr(running, "run_sweep", capture)
    monkeypatch.setattr(sys, "argv", ["vaegan.train", *arguments])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")  # the command sets it for its process, which here is not its own
    with pytest.raises(SystemExit) as end:
        train.main()
    assert end.value.code == 0
    return captured[0]


def settings(found: list[jobs.Job]) -> set[tuple]:
    return {
        (
            job.config.data.batch_size,
            job.config.data.noise_std,
            job.config.model.latent_dim,
            job.config.model.batch_norm,
            job.config.seed,
        )
        for job in found
    }


NAMED = {
    "paper": {
        (2000, std, d, bn, seed) for std, d in ((0.0, 50), (0.5, 100)) for bn in (True, False) for seed in (0, 1, 2)
    },
    "latent": {(128 if d == 500 else 2000, 0.0, d, bn, 0) for d in (2, 100, 500) for bn in (True, False)},
    "noise": {(2000, std, 100, bn, 0) for std in (0, 0.25, 0.5, 0.75, 1.0) for bn in (True, False)},
    "batch_size": {(size, 0.0, d, bn, 0) for size in (128, 512, 2000) for d in (20, 50) for bn in (True, False)},
    "quick": {(100, 0.0, d, bn, seed) for d in (2, 8) for bn in (True, False) for seed in (0, 1)},
}


# Sweeps of other options than those of `settings`: {option: values}, all combinations; and what they have in common unless said.
COMMON = {"model.latent_dim": [20], "data.batch_size": [128], "trainer.max_epochs": [10]}
GRIDS = {
    "objectives": {
        "objective.kind": ["autoencoder", "vae", "gan", "vaegan"],
        "model.batch_norm": [True, False],
        "seed": [0, 1, 2],
    },
    "denoising_objectives": {
        "objective.kind": ["autoencoder", "vae", "vaegan"],
        "model.batch_norm": [True, False],
        "data.noise_std": [0.5],
        "seed": [0, 1, 2],
    },
    "adversarial": {
        "objective.adversarial_weight": [3, 10, 30, 100],
        "objective.fakes": ["prior", "both"],
        "optimizer.discriminator.lr": [1e-3, 2e-4],
        "model.batch_norm": [False],
    },
    "tuned": {
        "objective.adversarial_weight": [10],
        "optimizer.discriminator.lr": [2e-4, 1e-4],
        "model.batch_norm": [False],
        "seed": [0, 1, 2],
    },
    "precision": {
        "trainer.precision": ["32-true", "bf16-mixed"],
        "model.batch_norm": [True],
        "model.latent_dim": [50],
        "data.batch_size": [2000],
        "seed": [0, 1, 2, 3, 4],
    },
}


def test_every_named_sweep_is_known_here():
    assert sorted([*NAMED, *GRIDS]) == sorted(path.stem for path in (cli.CONF / "sweep").glob("*.yaml"))


@pytest.mark.parametrize("name", sorted(NAMED))
@pytest.mark.parametrize("multirun", [["-m"], []], ids=["-m", "without"])
def test_a_named_sweep_is_what_it_says(monkeypatch, tmp_path, name, multirun):
    monkeypatch.chdir(tmp_path)
    found, folder = laid_out(monkeypatch, *multirun, f"+sweep={name}")
    assert folder == Path("outputs", name)
    assert settings(found) == NAMED[name]
    assert len({job.name for job in found}) == len(found) == len(NAMED[name])
    assert all(job.config.trainer.max_epochs == 10 for job in found)
    text = (cli.CONF / "sweep" / f"{name}.yaml").read_text()
    assert f"python -m vaegan.train -m +sweep={name}" in text
    assert "Time: " in text


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_a_named_sweep_is_a_grid(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    found, folder = laid_out(monkeypatch, f"+sweep={name}")
    assert folder == Path("outputs", name)
    options = [config.flatten(config.to_dict(job.config)) for job in found]
    values = COMMON | GRIDS[name]
    grid = set(itertools.product(*values.values()))
    assert {tuple(each[key] for key in values) for each in options} == grid
    assert len(found) == len(grid)
    text = (cli.CONF / "sweep" / f"{name}.yaml").read_text()
    assert f"python -m vaegan.train -m +sweep={name}" in text
    assert "Time: " in text


def test_the_largest_models_are_left_out_with_one_override(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found, _ = laid_out(monkeypatch, "-m", "+sweep=latent", "+experiment=glob(latent*,exclude=latent500*)")
    assert settings(found) == {one for one in NAMED["latent"] if one[2] != 500}


def test_an_override_narrows_a_named_sweep_and_the_names_stay(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    every, _ = laid_out(monkeypatch, "-m", "+sweep=paper")
    some, _ = laid_out(monkeypatch, "-m", "+sweep=paper", "seed=1")
    assert [job.name for job in some] == ["vaegan-seed1", "vaegan_bn-seed1", "denoise-seed1", "denoise_bn-seed1"]
    assert {job.name for job in some} < {job.name for job in every}


def test_resume_is_not_for_sweeps(tmp_path):
    with pytest.raises(UserError, match="train.resume is for a single run"):
        jobs.lay_out([composition("train.resume=x")], [], tmp_path)
