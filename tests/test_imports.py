"""Imports point down, and only a few packages may import what is heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmbench"

# From the top down; a module may import its own layer and those below it.
LAYERS = [
    {"cli", "pytest_plugin", "__main__", "__init__"},
    {"web"},
    {"figures"},
    {"frames", "report", "peak", "aa"},
    {"gate", "history"},
    {"meters"},
    {"campaign", "imports", "profiling"},
    {"comparison"},
    {"summaries", "causes", "catalog"},
    {"comparability"},
    {"objectives"},
    {"health"},
    {"worker", "store", "prepared"},
    {"quality_pass", "conformance"},
    {"loads", "workloads", "backends"},
    {"compress", "quality"},
    {"engine", "collectors", "models"},
    {
        "scenario_file",
        "scenario",
        "metrics",
        "energy",
        "run",
        "steady",
        "plugins",
        "environment",
        "traces",
    },
    {"utilisation"},
    {"steps"},
    {"roofline", "datasheets"},
    {"dispatch"},
    {"stopping", "error_rates"},
    {"verdicts", "progress"},
    {"request", "record", "caveats", "clock", "streams", "stats"},
    {"errors", "units", "secrets", "files"},
]
DEPTH = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}

# Who may import what is heavy.
HEAVY = {
    "torch": {"models", "engine", "backends", "compress", "quality", "profiling"},
    "transformers": {"models", "engine", "backends", "compress"},
    "pynvml": {"collectors", "environment"},
    "plotly": {"report", "figures"},
    "jinja2": {"report"},
    "onnxruntime": {"backends"},
    "ray": set(),
    "pytest": {"pytest_plugin"},
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Give the full name of every module and name that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def part_of_name(name: str) -> str:
    inner = name.split(".")[1]
    return inner if inner in DEPTH else "__init__"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    ours = [name for name in imported(path) if name.startswith("llmbench.")]
    upward = [name for name in ours if DEPTH[part_of_name(name)] < DEPTH[part(path)]]
    assert [name for name in upward if name != "llmbench.__version__"] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_heavy_is_imported_only_where_it_belongs(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert [root for root in roots & HEAVY.keys() if part(path) not in HEAVY[root]] == []


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


def test_every_name_a_module_exports_is_there_and_sorted() -> None:
    for path in MODULES:
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                names = ast.literal_eval(node.value)
                defined = _top_level_names(tree)
                assert set(names) <= defined, path


def _top_level_names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {
                n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)
            }
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names
