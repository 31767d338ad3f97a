"""Which commit a run says that it was made with."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vaegan.training.recorder import git_revision

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    command = ("git", "-C", folder, "-c", "user.name=a", "-c", "user.email=a@b", *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a part of its own, in a repository with one commit."""
    package = tmp_path / "repository" / "package"
    (package / "part").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "part" / "code.py").write_text("a = 1\n")
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-qm", "first")
    return package


def test_it_is_the_commit(package):
    assert git_revision(package) == git(package, "rev-parse", "HEAD")


@pytest.mark.parametrize("file", ["__init__.py", "part/code.py", "part/new.py"])
def test_a_change_anywhere_in_the_package_is_said(package, file):
    (package / file).write_text("a = 2\n")
    assert git_revision(package) == git(package, "rev-parse", "HEAD") + "+changes"


def test_a_change_outside_the_package_is_none_of_its(package):
    (package.parent / "README.md").write_text("a")
    assert git_revision(package) == git(package, "rev-parse", "HEAD")


@pytest.mark.parametrize("ignored", [True, False])
def test_what_is_installed_inside_a_checkout_of_something_else_has_no_revision(package, ignored):
    installed = package.parent / ".venv" / "vaegan"
    shutil.copytree(package, installed)
    if ignored:
        (package.parent / ".gitignore").write_text(".venv\n")
    assert git_revision(installed) is None


def test_outside_git_there_is_none(tmp_path):
    (tmp_path / "__init__.py").write_text("")
    assert git_revision(tmp_path) is None
    assert git_revision(tmp_path / "missing") is None
