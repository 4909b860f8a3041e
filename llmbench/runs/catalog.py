"""A catalog of the run sets in a folder, read without their request records."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.store import MANIFEST

COMMIT_LETTERS = 10
MACHINES = 3  # listed of a run set

Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One run set in the catalog; an unreadable one has only its folder, name and ``problem``.

    ``damaged`` counts runs that cannot be read; ``machine`` has the machines of the others, and
    ``commit`` is that of the first.
    """

    folder: Path
    name: str = ""
    description: str = ""
    began_at: str = ""
    cases: tuple[str, ...] = ()
    planned: int = 0
    measured: int = 0
    failed: int = 0
    damaged: int = 0
    machine: str = ""
    commit: str = ""
    problem: str = ""


def find(folder: Path) -> Iterator[Path]:
    """Yield the folders of all run sets at or below a folder, in alphabetical order.

    Symbolic links and hidden folders are skipped.
    """
    for path, subfolders, files in os.walk(folder):
        if MANIFEST in files:
            subfolders.clear()
            yield Path(path)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))


def stamp(folder: Path) -> Stamp:
    """Return path, modification time and size of each file of a run set, to detect changes."""
    files = sorted((folder / MANIFEST, *folder.glob("runs/[!.]*/*")))
    return tuple(stamped for path in files for stamped in _stamped(path))


def _stamped(path: Path) -> Iterator[tuple[str, int, int]]:
    try:
        status = path.stat()
    except OSError:  # a new run replaces a failed one, or it cannot be read
        return
    yield str(path), status.st_mtime_ns, status.st_size


def entry(folder: Path) -> Entry:
    """Return the catalog entry of the run set in a folder; a read error becomes its ``problem``."""
    try:
        run_set = store.read_plan(folder)
    except InputError as error:
        return Entry(folder, folder.name, problem=str(error))
    outlines = list(store.outlines(run_set))
    runs = [run for run in outlines if not isinstance(run, InputError)]
    statuses = [run.status for run in runs]
    environments = [run.environment for run in runs if run.environment] or [{}]
    return Entry(
        folder=folder,
        name=run_set.name,
        description=run_set.description,
        began_at=run_set.began_at,
        cases=tuple(run_set.cases),
        planned=len(run_set.plan),
        measured=statuses.count("done"),
        failed=statuses.count("failed"),
        damaged=len(outlines) - len(runs),
        machine=_machines(environments),
        commit=((environments[0].get("git") or {}).get("commit") or "")[:COMMIT_LETTERS],
    )


def _machines(environments: Iterable[dict[str, Any]]) -> str:
    """Return the different machines as text, and how many more than MACHINES there are."""
    machines = list(dict.fromkeys(filter(None, map(_machine, environments))))
    more = len(machines) - MACHINES
    return "; ".join([*machines[:MACHINES], *([f"and {more} more"] if more > 0 else [])])


def _machine(environment: dict[str, Any]) -> str:
    """Return the CPU model and the GPU names as text: ``EPYC 9654, 2 × H100``."""
    processor = (environment.get("cpu") or {}).get("model")
    gpus = [gpu.get("name") for gpu in environment.get("gpus") or []]
    counted = (f"{gpus.count(name)} × {name}" for name in dict.fromkeys(filter(None, gpus)))
    return ", ".join(filter(None, (processor, *counted)))


def find_link(folder: Path, root: Path) -> Path | None:
    """Return the first file or folder of a run set that is a link out of ``root``, or None."""
    parts = (folder / MANIFEST, folder / "runs", *folder.glob("runs/*"), *folder.glob("runs/*/*"))
    links = (path for path in parts if path.is_symlink())
    inside = root.resolve()
    return next((link for link in links if not link.resolve().is_relative_to(inside)), None)
