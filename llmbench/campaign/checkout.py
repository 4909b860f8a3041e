"""Checkouts of other llmbench versions, and workers that run them.

Built-in parts, such as backends, are found through the entry points of the installed distribution,
which name modules of the installed version. Another version may have different modules. Workers of
a checkout therefore get a distribution with the checkout's entry points, which precedes the
installed one.
"""

from __future__ import annotations

import shutil
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
    """Check out a commit of the working directory's repository into a folder, unless it is there.

    Raises InputError if git fails or the commit has no llmbench package.
    """
    baseline = f"--baseline git:{reference}"
    if not reference or reference.startswith("-"):
        raise InputError(f"{baseline}: not a commit; use a branch, tag or hash, such as git:main")
    if _is_incomplete(folder):
        shutil.rmtree(folder)
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # the second --force overrides the lock of an `add` that was killed
        options = ("--force", "--force", "--detach", "--quiet")
        git = _git("worktree", "add", *options, "--", str(folder), reference)
        if git.returncode:
            raise InputError(f"{baseline}: {git.stderr.strip()}")
    if not is_checkout(folder):
        raise InputError(f"{baseline}: has no llmbench package")
    return folder


def _is_incomplete(folder: Path) -> bool:
    """Return whether a folder is a checkout that lacks files, since git was killed."""
    if not (folder / ".git").is_file():
        return False
    return (
        _git("-C", str(folder), "diff", "--quiet", "--diff-filter=D", "HEAD", "--").returncode == 1
    )


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["git", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError("--baseline git:REF needs git, which is not installed") from None
