"""The scenarios that ship with llmbench, by name: ``default``, ``tasks/translation``."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """Return the folder of the shipped scenarios: in the installed package, or in the checkout."""
    installed = PACKAGE / "scenarios"
    return installed if installed.is_dir() else PACKAGE.parent / "scenarios"


def names() -> list[str]:
    """Return the names of the shipped scenarios, sorted."""
    paths = (path.relative_to(folder()) for path in folder().rglob("*.yaml"))
    return sorted(path.with_suffix("").as_posix() for path in paths)


def path_of(name: str) -> Path:
    """Return the file of a shipped scenario."""
    return folder() / f"{name}.yaml"
