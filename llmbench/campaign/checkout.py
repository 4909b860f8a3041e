"""Checkouts of other llmbench versions, and workers that run them.

Built-in parts, such as backends, are found through the entry points of the installed distribution,
which name modules of the installed version. Another version may have different modules. Workers of
a checkout therefore get a distribution with the checkout's entry points, which precedes the
installed one.
"""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

from llmbench.campaign.process import Installation
from llmbench.errors import InputError
from llmbench.runs.files import atomic_write

DISTRIBUTION = "llmbench-0+checkout.dist-info"


def is_checkout(path: Path) -> bool:
    """Return whether a folder contains the llmbench package."""
    return (path / "llmbench" / "__init__.py").is_file()


def installation_of(checkout: Path, folder: Path) -> Installation:
    """Return an installation that runs a checkout; its entry points are written to ``folder``."""
    paths = [checkout.resolve()]
    if text := _entry_points(checkout / "pyproject.toml"):
        distribution = folder / DISTRIBUTION
        distribution.mkdir(parents=True, exist_ok=True)
        atomic_write(distribution / "METADATA", "Name: llmbench\nVersion: 0+checkout\n")
        atomic_write(distribution / "entry_points.txt", text)
        paths.append(folder.resolve())
    return Installation(paths=tuple(paths))


def _entry_points(project: Path) -> str:
    """Return the entry points in a pyproject.toml as INI text; empty if it has none."""
    try:
        groups = tomllib.loads(project.read_text("utf-8"))["project"]["entry-points"]
    except (OSError, ValueError, KeyError):
        return ""
    return "\n".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
        for group, points in groups.items()
    )


def check_out(reference: str, folder: Path) -> Path:
    """Check out a commit of the working directory's repository into a folder, unless it exists.

    Raises InputError if git fails or the commit has no llmbench package.
    """
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = ["git", "worktree", "add", "--detach", "--quiet", str(folder), reference]
        git = subprocess.run(command, capture_output=True, text=True, check=False)
        if git.returncode:
            raise InputError(f"--baseline git:{reference}: {git.stderr.strip()}")
    if not is_checkout(folder):
        raise InputError(f"--baseline git:{reference}: has no llmbench package")
    return folder
