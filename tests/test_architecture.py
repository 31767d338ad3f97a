"""Imports go one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import vaegan

PACKAGE = Path(vaegan.__file__).parent
# Each room may import from itself and from rooms of a lower floor.
FLOORS = [
    {"errors", "files", "randomness"},
    {"sealed"},
    {"config", "losses", "networks", "vetting"},
    {"model", "cli"},
    {"runs"},
    {"data", "reporting"},
    {"evaluation"},
    {"training"},
    {"sweeping"},
    {"train", "evaluate", "report", "train_features"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports(path: Path) -> set[str]:
    """Rooms of vaegan that the file imports, inside functions too."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "vaegan":
            parts = node.module.split(".")
            rooms |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("vaegan.")}
    return rooms & FLOOR.keys()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for imported in imports(path) - {room}:
        assert FLOOR[imported] < FLOOR[room], f"{room} imports {imported}"


@pytest.mark.parametrize(
    "module",
    [
        "vaegan",
        "vaegan.config",
        "vaegan.cli",
        "vaegan.runs",
        "vaegan.train",
        "vaegan.evaluate",
        "vaegan.train_features",
        "vaegan.evaluation.options",
        "vaegan.report",
        "vaegan.reporting.figures",
        "vaegan.reporting.page",
        "vaegan.sweeping.running",
        "hydra_plugins.vaegan_sweeper",
    ],
)
def test_no_torch_where_a_person_waits_for_an_answer(module):
    code = f"import sys, {module}; assert not {{'torch', 'pytorch_lightning'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
