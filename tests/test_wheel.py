"""A machine that only installed the wheel."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The python of a new environment in which the wheel, and not this checkout, is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True, capture_output=True
    )
    (wheel,) = folder.glob("vaegan-*.whl")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    # The dependencies are those of this environment, because torch takes minutes to install. A folder named by a .pth
    # file has its own .pth files ignored, so the editable install of the checkout does not come with it.
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(packages) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True, capture_output=True)
    return python


def test_the_wheel_carries_the_package_and_its_configuration(installed, tmp_path):
    where = subprocess.run(
        [installed, "-c", "import vaegan; print(vaegan.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(installed.parent.parent) in where


def test_train_works_from_any_directory_with_an_own_experiment(installed, tmp_path):
    own = tmp_path / "mine" / "experiment"
    own.mkdir(parents=True)
    (own / "tiny.yaml").write_text("# @package _global_\ndefaults:\n  - smoke\nmodel:\n  latent_dim: 3\n")
    arguments = ["--config-dir", "mine", "+experiment=tiny", "trainer.max_epochs=1"]
    done = subprocess.run(
        [installed, "-m", "vaegan.train", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "tiny").iterdir()
    assert "latent_dim: 3" in (folder / "config.yaml").read_text()
    assert (folder / "model.safetensors").is_file()


def test_sweeps_evaluations_and_reports_work_from_any_directory(installed, tmp_path):
    one = ["seed=0", "model.latent_dim=2", "trainer.max_epochs=1", "logger.tensorboard=false"]
    for arguments in (
        ["vaegan.train", "-m", "+sweep=quick", *one],
        ["vaegan.evaluate", "run=outputs/quick", "metrics=loss"],
        ["vaegan.report", "outputs/quick"],
    ):
        done = subprocess.run([installed, "-m", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "outputs" / "quick" / "report" / "report.html").read_text()
    assert "2 runs: 2 finished." in page and "Loss and likelihood" in page


def test_the_wheel_carries_the_feature_network(installed, tmp_path):
    """`load` also checks the SHA-256 of what was shipped."""
    code = "from vaegan.evaluation import features; features.load('mnist', None, 'cpu'); print(features.SHIPPED)"
    done = subprocess.run([installed, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert str(installed.parent.parent) in done.stdout
