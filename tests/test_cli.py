"""The command line itself: what a person who mistypes something gets to read."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vaegan import cli

# Proves that an answer came before torch: importing it is an error here.
NO_TORCH = "import sys; sys.modules['torch'] = None; from vaegan.train import main; main()"


def run(*arguments: str, cwd: Path, code: str = NO_TORCH) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["data.nois_std=0.5"], "data.nois_std is not an option; did you mean data.noise_std?"),
        (["noise_std=0.5"], "noise_std is not an option; did you mean data.noise_std?"),
        (["+data.nois_std=0.5"], "data.nois_std is not an option; did you mean data.noise_std?"),
        (["++modle.latent_dim=3"], "modle is not an option; did you mean model?"),
        (["~model.dropout"], "model.dropout is missing; give it a value (a number >= 0 and < 1)."),
        (["data.noise_std=abc"], "data.noise_std must be a number >= 0, not 'abc'."),
        (["data.noise_std=-1"], "data.noise_std must be a number >= 0, not -1."),
        (["data.noise_std=nan"], "data.noise_std must be a number >= 0, not nan."),
        (["model.latent_dim=0"], "model.latent_dim must be a whole number >= 1 and <= 100000, not 0."),
        (["data.batch_size=99999"], "data.batch_size is 99999, but mnist leaves 60000 training images"),
        (["+experiment=denois_bn"], "experiment=denois_bn does not exist; did you mean experiment=denoise_bn?"),
        (["experiment=denoise_bn"], "experiment is added, not replaced; write +experiment=NAME."),
        (["objective=vaegann"], "objective=vaegann does not exist; did you mean objective=vaegan?"),
        (["objective=vae", "objective.fakes=both"], "objective.fakes is not an option of the chosen objective"),
        (["data.noise_std"], "cannot read 'data.noise_std' on the command line; write key=value"),
        (["data.noise_std=1" + "0" * 400], "data.noise_std must be a number >= 0"),
        (["model.latent_dim=9999999999999"], "model.latent_dim must be a whole number >= 1 and <= 100000"),
        (["model.latent_dim=null"], "model.latent_dim must be a whole number"),
        (["data.root=''"], "data.root must be null or a text, not ''."),
        (["seed=${nope}"], "seed: Interpolation key 'nope' not found."),
        (["seed=0,1,2"], "seed=0,1,2 are several values, which need a multirun: add -m."),
        (["seed=???"], "seed"),
        (["data=null"], "cannot be composed"),
        (["seed=[1"], "cannot read 'seed=[1' on the command line; write key=value"),
        (["train.resume=nowhere"], "train.resume: nowhere is not a run folder: it has no config.yaml"),
        ([f"train.resume={'n' * 300}"], "File name too long"),
        (["train.resume=???"], "train.resume is missing"),
        (["trainer.precision=???"], "trainer.precision is missing; give it a value, trainer.precision=..."),
        (["train.resume=${nope}"], "hydra.run.dir, made of train.resume: Interpolation key 'nope' not found."),
        (["~train"], "train is missing; give it a value (a group of options)."),
        (["+data.noise_std=1"], "data.noise_std is there already; write data.noise_std=VALUE, without +."),
        (["~data.noise_std=1"], "data.noise_std cannot be taken out; leave out ~data.noise_std"),
        (["~data.root"], "data.root cannot be taken out; leave out ~data.root"),
        (["model={width: 3}"], "model.width is not an option"),
        (["model=[paper,wide]"], "model=wide does not exist."),
        (
            ["model=5"],
            "cannot be composed (ValueError: Config group override must be a string or a list. Got int); check model=5",
        ),
        (["seed=" + "1" * 5000], "check seed=111"),
        (["--experimental-rerun", "x.pickle"], "--experimental-rerun is not offered"),
        (["--config-dir", "nowhere"], "nowhere"),
    ],
)
def test_a_mistake_gets_one_sentence_exit_code_2_and_leaves_nothing(arguments, message, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments, shown", [(["--help"], "+experiment=denoise_bn"), (["--cfg", "job"], "noise_std: 0.0")]
)
def test_help_and_configuration_come_without_torch(arguments, shown, tmp_path):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_help_lists_every_group_with_its_files_a_users_own_folder_included(tmp_path):
    (tmp_path / "mine/experiment").mkdir(parents=True)
    (tmp_path / "mine/experiment/my_idea.yaml").write_text("# @package _global_\nseed: 1\n")
    lines = run("--help", "--config-dir", "mine", cwd=tmp_path).stdout.splitlines()
    names = sorted([path.stem for path in (cli.CONF / "experiment").glob("*.yaml")] + ["my_idea"])
    assert f"experiment: {', '.join(names)}" in lines
    assert any(line.startswith("data: digits, ") for line in lines)


def test_tab_completes_names_of_groups_files_and_options_without_torch(tmp_path, monkeypatch):
    def completed(line: str) -> list[str]:
        monkeypatch.setenv("COMP_LINE", f"vaegan-train {line}")
        return run("-sc", "query=bash", cwd=tmp_path).stdout.split()

    assert completed("+experiment=denoise_") == ["+experiment=denoise_bn"]
    assert completed("model.batch") == ["model.batch_norm=", "model.batch_norm_output="]
    assert completed("objective=va") == ["objective=vae", "objective=vaegan"]


def test_a_mistake_in_one_job_of_a_multirun_is_reported_with_exit_code_2(tmp_path):
    done = run("-m", "model.latent_dim=0,-1", cwd=tmp_path)
    assert done.returncode == 2
    assert "model.latent_dim must be a whole number >= 1 and <= 100000, not 0." in done.stderr


def test_a_sweep_is_no_single_run(tmp_path):
    own = tmp_path / "own" / "sweep"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nhydra:\n  sweeper:\n    params:\n      seed: 0,1\n")
    done = run("--config-dir", str(tmp_path / "own"), "+sweep=mine", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("vaegan: +sweep=NAME is several runs; add -m")


def test_own_experiments_are_found_with_config_dir(tmp_path):
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nmodel:\n  latent_dim: 13\n")
    done = run("--config-dir", str(tmp_path / "own"), "+experiment=mine", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "latent_dim: 13" in done.stdout


def test_a_typo_in_an_own_experiment_is_caught(tmp_path):
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nmodel:\n  latentdim: 13\n")
    done = run("--config-dir", str(tmp_path / "own"), "+experiment=mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "model.latentdim is not an option; did you mean model.latent_dim?" in done.stderr


def test_a_mistake_removes_only_what_was_made_for_it(tmp_path):
    kept = tmp_path / "outputs" / "vaegan" / "earlier"
    kept.mkdir(parents=True)
    assert run("+experiment=vaegan", "seed=-1", cwd=tmp_path).returncode == 2
    assert list((tmp_path / "outputs" / "vaegan").iterdir()) == [kept]


def test_run_folders_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor() as pool:
        folders = list(pool.map(lambda _: cli._run_folder("vaegan", None), range(20)))
    assert len(set(folders)) == 20
    assert all(Path(folder).is_dir() and Path(folder).parent == Path("outputs/vaegan") for folder in folders)


@pytest.mark.parametrize(
    "text, message",
    [
        ("model: [", "cannot be composed"),
        ("model:\n  latent_dim: 3\n  latent_dim: 4\n", "cannot be composed"),
        ("!!python/object/apply:os.system ['touch executed']", "cannot be composed"),
        ("defaults: 5", "cannot be composed"),
        ("# @package _global_\nmodel: 5\n", "model"),
        ("# @package _global_\noptimizer:\n  vae: 5\n", "optimizer.vae"),
        ("# @package _global_\noptimizer:\n  vae: [5]\n", "optimizer.vae in experiment/mine is a list where a group"),
        (
            "# @package _global_\noptimizer:\n  vae:\n    betas: {a: 1}\n",
            "optimizer.vae.betas in experiment/mine is a list",
        ),
        ("# @package _global_\ntrain: 5\n", "train must be a group of options, not 5."),
        ("# @package _global_\nmodel:\n  null: 3\n", "model: Incompatible key type 'NoneType'."),
        ("model:\n  latent_dim: 3\n", "must begin with the line `# @package _global_`"),
        ("# @package _global_\nmodel:\n  _target_: os.system\n", "model._target_ is not an option"),
        ("# @package _global_\nseed: ${oc.env:NOT_THERE}\n", "NOT_THERE"),
    ],
)
def test_a_broken_experiment_file_gets_one_sentence(text, message, tmp_path):
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text(text)
    done = run("--config-dir", str(tmp_path / "own"), "+experiment=mine", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


@pytest.mark.parametrize("flag", ["--experimental-rerun", "--experimental-r", "--e"])
def test_no_abbreviation_reaches_the_unpickling_flag(flag, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Payload()))
    for arguments in ([flag, "evil.pickle"], [f"{flag}=evil.pickle"]):
        assert run(*arguments, cwd=tmp_path).returncode == 2
    assert not (tmp_path / "executed").exists()
