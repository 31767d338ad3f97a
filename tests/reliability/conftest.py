"""Trials of what vaegan promises to survive: a few of each in `make test`, all of them in `make test-reliability`.

A test opens a scenario with `scenario("...")` and reports every trial to it; the table of all scenarios is printed at the end.
"""

import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ("vaegan", "torch", "pytorch-lightning", "hydra-core", "safetensors")


@dataclass
class Scenario:
    """What is tried again and again."""

    name: str
    trials: int = 0
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def trial(self, passed: object, what: object = "") -> None:
        """Count one trial; `what` names it, should it have failed."""
        self.trials += 1
        if not passed:
            self.failures.append(str(what))

    def note(self, figure: str) -> None:
        """A measured figure that belongs beside the counts."""
        self.notes.append(figure)


_scenarios: dict[str, Scenario] = {}


@pytest.fixture
def scenario() -> Callable[[str], object]:
    """`with scenario("2 Kill -9: the last checkpoint loads") as trials:`; fails at the end if a trial did."""

    @contextmanager
    def opened(name: str) -> Iterator[Scenario]:
        found = _scenarios.setdefault(name, Scenario(name))
        before = len(found.failures)
        try:
            yield found
        except BaseException as error:
            found.trial(False, f"{type(error).__name__}: {error}")
            raise
        failures = found.failures[before:]
        assert not failures, f"{len(failures)} of {found.trials} trials failed: " + "; ".join(failures[:20])

    return opened


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """`trials(short, long)`: how many to make."""
    return lambda short, long: long if request.config.getoption("--long") else short


@pytest.fixture
def long_only(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("only in make test-reliability")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["scenarios"] = [asdict(found) for found in _scenarios.values()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for found in getattr(node, "workeroutput", {}).get("scenarios", ()):
        whole = _scenarios.setdefault(found["name"], Scenario(found["name"]))
        whole.trials += found["trials"]
        whole.failures += found["failures"]
        whole.notes += found["notes"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    file = config.getoption("--table")
    if not _scenarios or not (file or config.getoption("--long")):
        return
    today = date.today().isoformat()
    rows = {
        found.name: (found.name, f"{found.trials:,}", str(len(found.failures)), "; ".join(found.notes), today)
        for found in _scenarios.values()
    }
    page = Path(file).read_text() if file and Path(file).exists() else _BEGIN + _END
    before, _, rest = page.partition(_BEGIN)
    table, _, after = rest.partition(_END)
    if config.getoption("keyword"):  # a selection: the other rows stay
        old = [tuple(line.strip("| ").split(" | ")) for line in table.splitlines() if re.match(r"\| \d", line)]
        rows = {cells[0]: cells for cells in old} | rows
    heading = ("scenario", "trials", "failures", "measured", "date")
    ordered = sorted(rows.values(), key=lambda cells: (int(cells[0].split()[0]), cells[0]))
    lines = [f"| {' | '.join(cells)} |" for cells in (heading, *ordered)]
    lines.insert(1, "|---|--:|--:|---|---|")
    for line in lines:
        terminalreporter.write_line(line)
    if file:
        versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        made = f"{versions}, Python {platform.python_version()} on {platform.system()} {platform.machine()}."
        Path(file).write_text("\n".join([before + _BEGIN, made, "", *lines, _END]) + after)


_BEGIN, _END = "<!-- table: make test-reliability -->", "<!-- end of table -->"


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """An empty folder on another file system than tmp_path, where the machine has one for us."""
    candidates = [Path("/dev/shm"), Path("/run/shm"), Path.home()]
    for candidate in candidates:
        if candidate.is_dir() and os.access(candidate, os.W_OK) and candidate.stat().st_dev != tmp_path.stat().st_dev:
            with tempfile.TemporaryDirectory(dir=candidate) as folder:
                yield Path(folder)
            return
    pytest.skip("there is one file system only")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB, where we may mount one."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
