"""Imports point down, and only a few packages may import what is heavy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmbench"

# From the top down; a module may import its own floor and those below it.
FLOORS = [
    {"__init__", "__main__", "worker", "cli", "testing"},
    {"report", "campaign", "fleet", "simulation"},
    {"quality", "backends", "engine", "models", "loads", "workloads", "collectors"},
    {"analysis"},
    {"runs", "scenario", "environment"},
    {"plugins", "units", "errors"},
]
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Who may import what is heavy.
HEAVY = {
    "torch": {"models", "engine", "backends", "quality", "campaign"},
    "transformers": {"models", "engine", "backends"},
    "pynvml": {"collectors", "environment"},
    "plotly": {"report"},
    "jinja2": {"report"},
    "onnxruntime": {"backends"},
    "scipy": {"analysis", "campaign", "simulation"},
    "pytest": {"cli"},
    "ray": {"fleet"},
    "fsspec": {"runs"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


TREES = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the full name of every module and name that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def dotted(face: Path) -> str:
    return ".".join(face.relative_to(PACKAGE.parent).parts[:-1])


def floor_of(name: str) -> int:
    """The floor of an imported name; what `llmbench` itself exports may be used anywhere."""
    return FLOOR_OF.get(name.split(".")[1], len(FLOORS))


def test_imports_point_down() -> None:
    upward = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if name.startswith("llmbench.") and floor_of(name) < FLOOR_OF[room(path)]
    ]
    assert upward == []


def test_what_is_heavy_is_imported_only_where_it_belongs() -> None:
    misplaced = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path, tree in TREES.items()
        for name in imported(tree)
        if room(path) not in HEAVY.get(name.split(".")[0], {room(path)})
    ]
    assert misplaced == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from llmbench.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        f"print([m for m in {[*HEAVY, 'pandas', 'numpy', 'pyarrow']} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("face", [p for p in MODULES if p.name == "__init__.py"], ids=dotted)
def test_the_names_that_a_face_exports_are_there(face: Path) -> None:
    module = importlib.import_module(dotted(face))
    exported = getattr(module, "__all__", [])
    assert [name for name in exported if not hasattr(module, name)] == []


def test_only_faces_have_a_list_of_exports() -> None:
    listed = [p for p, tree in TREES.items() if p.name != "__init__.py" and exports(tree)]
    assert listed == []


def exports(tree: ast.Module) -> bool:
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
