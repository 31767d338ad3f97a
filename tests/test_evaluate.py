"""`python -m vaegan.evaluate`: what it writes, what it refuses, and that its numbers are those of the run."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import SMALL, make_plan
from PIL import Image
from safetensors.torch import load_file, save_file
from small_data import write_own

from vaegan import config, runs
from vaegan.data import sources
from vaegan.evaluate import evaluate
from vaegan.evaluation.options import GROUPS, Options
from vaegan.runs import RunFolder

FAST = {
    "metrics": list(GROUPS),
    "weights": "model",
    "seed": 0,
    "accelerator": "cpu",
    "again": False,
    "figures": False,
    "projector": False,
    "data_root": None,
    "likelihood": {"num_samples": 20, "num_images": 100, "binarisation": "fixed"},
    "reconstruction": {"sigmas": [0, 0.5], "filters": False},
    "generation": {"num_samples": 200, "mixture_components": 3},
}


FILTERED = {"sigmas": [0.5], "filters": True}


def options(run, **changes) -> Options:
    return config.read(Options, FAST | {"run": str(run)} | changes)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Path]:
    """A small run of each objective on digits, and one at d = 2 with noise."""
    from vaegan.train import train

    root = tmp_path_factory.mktemp("runs")
    kinds = {
        "vaegan": ("objective.fakes=both", "data.held_out_class=3"),
        "vae": ("objective=vae",),
        "autoencoder": ("objective=autoencoder",),
        "gan": ("objective=gan",),
        "plane": ("model.latent_dim=2", "model.hidden_dim=30", "data.noise_std=0.3", "model.batch_norm=false"),
    }
    for name, overrides in kinds.items():
        train(make_plan(root / name, *SMALL, "logger.tensorboard=false", *overrides))
    torch.set_float32_matmul_precision("highest")
    return {name: root / name for name in kinds}


@pytest.fixture
def run(trained, tmp_path):
    """A copy of one of the trained runs."""

    def copy(name: str) -> RunFolder:
        return RunFolder(shutil.copytree(trained[name], tmp_path / name))

    return copy


def value(folder: RunFolder, name: str) -> float:
    group, _, metric = name.partition("/")
    return json.loads(folder.evaluation_metrics.read_text())["groups"][group]["metrics"][metric]["value"]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "vaegan.evaluate", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("name", ["vaegan", "plane"])
def test_the_loss_is_the_one_that_the_run_ended_with(run, name):
    folder = run(name)
    evaluate(options(folder, metrics=["loss", "overfitting"]))
    last = folder.read_metrics()[-1]
    assert value(folder, "loss/loss") == pytest.approx(last["test/loss"], rel=1e-5)
    assert value(folder, "loss/reconstruction") == pytest.approx(last["test/reconstruction"], rel=1e-5)
    assert value(folder, "overfitting/test_loss") == pytest.approx(last["test/loss"], rel=1e-5)
    parts = [value(folder, f"loss/{name}") for name in ("sampled_reconstruction", "kl", "sampled_loss")]
    assert parts[0] + parts[1] == pytest.approx(parts[2], rel=1e-6)


def test_the_likelihood_is_above_the_bound_on_the_same_binary_digits(run):
    """k = 1 is the sampled ELBO; more samples come closer to log p(x) from below."""
    folder = run("vae")
    values = []
    for k in (1, 10, 200):
        changes = {"num_samples": k, "num_images": 297, "binarisation": "fixed"}
        evaluate(options(folder, metrics=["likelihood"], likelihood=changes))
        values.append(value(folder, f"likelihood/log_likelihood_fixed_k{k}"))
    assert values[0] < values[1] < values[2] < 0


def test_every_metric_says_unit_count_and_spread(run):
    folder = run("vaegan")
    evaluate(options(folder))
    groups = json.loads(folder.evaluation_metrics.read_text())["groups"]
    assert list(groups) == list(GROUPS)
    for group in groups.values():
        for metric in group["metrics"].values():
            assert math.isfinite(metric["value"]) and metric["unit"] and metric["n"] > 0
            assert metric["standard_error"] is None or metric["standard_error"] >= 0
    assert groups["loss"]["metrics"]["loss"]["n"] == 297  # the whole test set of digits
    assert {"accuracy_real", "accuracy_prior", "accuracy_reconstruction"} <= groups["discriminator"]["metrics"].keys()
    known = sum(label != 3 for label in _test_labels())  # what was held out is no class of the latent space
    assert groups["latent"]["metrics"]["probe_accuracy"]["n"] == known < 297
    anomalies = groups["anomaly"]["metrics"]
    assert {
        f"held_out_class/{score}" for score in ("reconstruction", "kl", "loss", "discriminator")
    } <= anomalies.keys()


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(run):
    folder = run("vaegan")

    def numbers(**changes):
        evaluate(options(folder, again=True, **changes))
        groups = json.loads(folder.evaluation_metrics.read_text())["groups"]
        return {name: (group["metrics"], group["arrays"]) for name, group in groups.items()}

    first = numbers()
    assert numbers() == first
    other = numbers(seed=1)
    assert other["likelihood"] != first["likelihood"] and other["generation"] != first["generation"]
    assert other["loss"][0]["loss"] == first["loss"][0]["loss"]  # the noise of the run itself


@pytest.mark.parametrize(
    "name, group, metric, reason",
    [
        ("gan", "loss", "", "no encoder"),
        ("gan", "likelihood", "", "no encoder"),
        ("gan", "latent", "", "no encoder"),
        ("gan", "generation", "mixture", "no codes"),
        ("gan", "anomaly", "kl", "no encoder"),
        ("autoencoder", "likelihood", "", "no prior"),
        ("autoencoder", "loss", "kl", "no q(z|x)"),
        ("autoencoder", "discriminator", "", "no discriminator"),
        ("vae", "anomaly", "held_out_class", "data.held_out_class=N"),
        ("vae", "anomaly", "discriminator", "no discriminator"),
    ],
)
def test_what_does_not_apply_says_why_and_the_rest_goes_on(run, name, group, metric, reason):
    folder = run(name)
    evaluate(options(folder, metrics=[group, "generation"]))
    groups = json.loads(folder.evaluation_metrics.read_text())["groups"]
    assert reason in groups[group]["not_applicable"][metric]
    assert groups["generation"]["metrics"]["prior/frechet_distance"]["value"] > 0


def test_what_cannot_be_measured_is_not_drawn(run):
    folder = run("gan")
    evaluate(options(folder, metrics=["latent", "reconstruction"], figures=True))
    groups = json.loads(folder.evaluation_metrics.read_text())["groups"]
    assert {name: group["pictures"] for name, group in groups.items()} == {"latent": [], "reconstruction": []}


def test_what_is_known_is_not_computed_again(run):
    folder = run("vae")
    evaluate(options(folder, metrics=["loss", "likelihood"]))
    content = json.loads(folder.evaluation_metrics.read_text())
    content["groups"]["loss"]["metrics"]["loss"]["value"] = 12345.0
    folder.evaluation_metrics.write_text(json.dumps(content))
    changed = FAST["likelihood"] | {"num_samples": 5}
    evaluate(options(folder, metrics=["loss", "likelihood"], likelihood=changed))
    assert value(folder, "loss/loss") == 12345  # kept
    assert value(folder, "likelihood/log_likelihood_fixed_k5") < 0  # asked for with another k
    evaluate(options(folder, metrics=["loss"], again=True))
    assert value(folder, "loss/loss") < 1000


def test_pictures_can_be_drawn_later(run):
    folder = run("vae")
    evaluate(options(folder, metrics=["reconstruction"]))
    assert not list(folder.evaluation.glob("*.png"))
    evaluate(options(folder, metrics=["reconstruction"], figures=True))
    assert {path.name for path in folder.evaluation.glob("*.png")} == set(
        folder.read_evaluation()["reconstruction"]["pictures"]
    )
    assert (folder.evaluation / "denoising.png").exists()


def test_numbers_of_other_weights_and_damaged_ones_are_not_kept(run):
    folder = run("vae")
    evaluate(options(folder, metrics=["loss"]))
    before = value(folder, "loss/loss")
    folder.evaluation_metrics.write_text("{")
    evaluate(options(folder, metrics=["loss"]))
    assert value(folder, "loss/loss") == before
    shutil.copy(run("vaegan").model, folder.model)  # has a discriminator, which does not fit
    with pytest.raises(runs.UserError, match="does not fit"):
        evaluate(options(folder, metrics=["loss"]))


def test_a_model_that_has_diverged_has_no_numbers_but_reasons(run):
    folder = run("vae")
    state = load_file(folder.model)
    state["decoder.0.bias"][:] = math.nan
    save_file(state, folder.model)
    evaluate(options(folder, metrics=["loss", "likelihood"]))
    groups = folder.read_evaluation()
    assert groups["loss"]["not_applicable"]["loss"] == "it came out as nan"
    assert groups["loss"]["metrics"]["kl"]["value"] > 0  # the encoder is whole


def test_pictures_of_a_run(run):
    folder = run("vaegan")
    evaluate(options(folder, figures=True))
    names = {path.stem for path in folder.evaluation.glob("*.png")}
    assert names == {
        *("reconstruction_sigma_0", "reconstruction_sigma_0.5", "denoising", "samples", "classes"),
        *("latent_pca", "latent_tsne", "latent_digits", "dimensions", "interpolations", "traversals"),
        *("nearest", "nearest_distances", "gap", "discriminator"),
    }
    for path in folder.evaluation.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 50


def test_the_plane_is_decoded_at_the_priors_quantiles(run):
    from scipy.stats import norm

    from vaegan.evaluation.pictures import decoded_plane
    from vaegan.evaluation.subject import Subject

    folder = run("plane")
    subject = Subject(folder, options(folder), torch.device("cpu"))
    images = decoded_plane(subject)
    assert images.shape == (400, 784)
    # The picture's first row is on top, where dimension 2 is largest; its last column is where dimension 1 is.
    top_right = torch.tensor([[norm.ppf(0.975), norm.ppf(0.975)]], dtype=torch.float32)
    torch.testing.assert_close(images[19], subject.generate(top_right)[0], rtol=1e-4, atol=1e-5)
    bottom_left = torch.tensor([[norm.ppf(0.025), norm.ppf(0.025)]], dtype=torch.float32)
    torch.testing.assert_close(images[380], subject.generate(bottom_left)[0], rtol=1e-4, atol=1e-5)
    evaluate(options(folder, metrics=["latent"], figures=True))
    assert {"latent", "plane", "latent_digits"} <= {path.stem for path in folder.evaluation.glob("*.png")}


def test_the_projector_shows_codes_labels_and_images(run):
    folder = run("vae")
    evaluate(options(folder, metrics=["loss"], projector=True))
    [tensors] = folder.tensorboard.rglob("tensors.tsv")
    assert len(tensors.read_text().splitlines()) == 297
    assert (tensors.parent / "metadata.tsv").read_text().split() == [str(n) for n in _test_labels()]
    with Image.open(tensors.parent / "sprite.png") as sprite:
        assert sprite.size == (28 * 18, 28 * 18)  # 18 x 18 places for 297 images


def _test_labels():
    from vaegan.data import sources

    return sources.load("digits", None).test_labels.tolist()


def test_a_sweep_is_evaluated_and_what_is_not_finished_is_named(run, tmp_path, capsys):
    folder, other = run("vae"), run("gan")
    other.write_status(other.read_status() | {"state": "failed", "error": "boom"})
    with pytest.raises(SystemExit) as stopped:
        evaluate(options(tmp_path, metrics=["loss"]))
    assert stopped.value.code == 1
    assert "gan is left out: failed, boom" in capsys.readouterr().err
    assert value(folder, "loss/loss") > 0 and not other.evaluation_metrics.exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ([], "run is missing"),
        (["run=nowhere"], "nowhere is not a run folder"),
        (["run=vae", "metrics=[los]"], "metrics must be a list, each one of"),
        (["run=vae", "metrics=[los]"], "did you mean loss?"),
        (["run=vae", "likelihood.k=5"], "likelihood.k is not an option"),
        (["run=vae", "likelihod.num_samples=5"], "did you mean likelihood.num_samples?"),
        (["run=vae", "accelerator=mps"], "accelerator=mps is not there on this machine"),
        (["run=vae", "generation.num_samples=5"], "generation.num_samples must be a whole number >= 100"),
        (["run=unfinished"], "unfinished has not finished (interrupted)"),
        (["run=damaged"], "model.safetensors is not a readable safetensors file"),
        (["run=other_shape"], "does not fit"),
        (["-m", "run=a,b"], "leave -m out"),
        (["run=a,b"], "run=[A,B]"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(run, tmp_path, arguments, sentence):
    run("vae")
    if arguments[:1] == ["run=unfinished"]:
        unfinished = RunFolder(run("gan").path.rename(tmp_path / "unfinished"))
        unfinished.write_status(unfinished.read_status() | {"state": "interrupted"})
    if arguments[:1] == ["run=damaged"]:
        RunFolder(run("gan").path.rename(tmp_path / "damaged")).model.write_bytes(b"no weights")
    if arguments[:1] == ["run=other_shape"]:
        other = RunFolder(run("plane").path.rename(tmp_path / "other_shape"))
        shutil.copy(tmp_path / "vae" / "model.safetensors", other.model)
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_command_prints_a_table_and_where_the_results_are(run, tmp_path):
    run("vae")
    done = command("run=vae", "metrics=[loss,likelihood]", "likelihood.num_samples=10", "figures=false", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "vae/evaluation" in done.stdout
    assert "log_likelihood_fixed_k10" in done.stdout and "nats per image, n = 297" in done.stdout


def test_own_files_are_evaluated_without_what_needs_a_classifier_of_them(tmp_path, monkeypatch):
    from vaegan.evaluation import subject
    from vaegan.train import train

    digits = dataclasses.astuple(sources.load("digits", None))
    root = write_own(tmp_path / "own", [array.reshape(-1, *(28, 28) * (array.ndim > 1)) for array in digits])
    files = sorted(root.iterdir())
    name = ("data=own", f"data.root={root}", "data.num_images=1200", "logger.tensorboard=false")
    train(make_plan(tmp_path / "run", *name, *SMALL[1:], "objective=vae"))
    folder = RunFolder(tmp_path / "run")
    asked = {"num_samples": 200, "mixture_components": 3}
    metrics = ["loss", "reconstruction", "generation", "latent", "overfitting"]
    evaluate(options(folder, metrics=metrics, generation=asked, figures=True, reconstruction=FILTERED))
    groups = folder.read_evaluation()
    last = folder.read_metrics()[-1]
    assert value(folder, "loss/loss") == pytest.approx(last["test/loss"], rel=1e-5)
    assert groups["generation"]["not_applicable"] == {"": "data=own has no feature network to judge samples by"}
    assert groups["generation"]["pictures"] == ["samples.png"]
    assert groups["latent"]["metrics"]["probe_accuracy"]["n"] == 297
    assert value(folder, "overfitting/nearest_distance") > 0
    assert sorted(root.iterdir()) == files  # nothing is kept among the user's files

    monkeypatch.setattr(subject, "NUM_IMAGES", 250)  # as if there were more of them than memory holds
    subject.real_images.cache_clear()
    evaluate(options(folder, metrics=["loss", "latent"], again=True))
    subject.real_images.cache_clear()
    groups = folder.read_evaluation()
    assert groups["loss"]["metrics"]["loss"]["n"] == groups["latent"]["metrics"]["probe_accuracy"]["n"] == 250
