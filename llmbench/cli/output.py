"""Lock results folders and print stored results, for several commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmbench.runs.profile import Profile
    from llmbench.runs.run_set import RunSet

DERIVED = ("seconds", "ratio", "idle_seconds", "launches_per_step", "launches_per_token")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a results folder within the context; warn if its file system has no locks."""
    from llmbench.runs import lock

    with lock.locked(folder) as reason:
        if reason:
            advice = "make sure that no other process measures into it"
            print(f"llmbench: {reason}; {advice}", file=sys.stderr)
        yield


def count_of(part: int, whole: int, noun: str) -> str:
    """Return how many of several things there are: ``2 of 3 runs``, ``1 of 1 run``."""
    return f"{part:,} of {whole:,} {noun}{'s' * (whole != 1)}"


def write_report(stored: RunSet | Profile) -> Path:
    """Write report.html in the folder of stored results and return its path."""
    from llmbench import report
    from llmbench.runs import remote

    page = stored.folder / "report.html"
    report.write(stored, page)
    remote.try_push(stored.folder)
    return page


def print_result(
    stored: RunSet | Profile, page: Path, arguments: argparse.Namespace, **more: Any
) -> None:
    """Print stored results as a table, as JSON (extended by ``more``), or not at all.

    The options ``--json`` and ``--quiet`` decide.
    """
    if arguments.json:
        print(json.dumps({**as_dict(stored, page), **more}, indent=1))
    elif not arguments.quiet:
        print_table(stored, page)


def print_table(stored: RunSet | Profile, page: Path) -> None:
    """Print the table of stored results, and the paths of their folder and report."""
    from llmbench import report

    report.show(stored)
    print_paths(stored.folder, page)


def print_paths(folder: Path, page: Path) -> None:
    """Print the paths of a results folder and of its report."""
    from llmbench.runs.remote import address

    print(f"\nresults  {address(folder)}\nreport   {address(page)}")


def as_dict(stored: RunSet | Profile, page: Path) -> dict[str, Any]:
    """Return JSON data: a run set's summary or a profile's numbers, and the paths of both."""
    from llmbench.report.frames import summary
    from llmbench.runs.remote import address
    from llmbench.runs.run_set import RunSet

    numbers = summary(stored) if isinstance(stored, RunSet) else _profile_as_dict(stored)
    return {"folder": address(stored.folder), "report": address(page), **numbers}


def _profile_as_dict(profile: Profile) -> dict[str, Any]:
    cases = asdict(profile)["cases"]
    for case, case_dict in zip(profile.cases, cases, strict=True):
        case_dict |= {"case": case.case.name, "slug": case.case.slug}
        case_dict |= {"backend": case.case.backend, "point": case.case.point}
        case_dict["caveats"] = [caveat.in_full() for caveat in case.caveats]
        for phase, phase_dict in zip(case.phases, case_dict["phases"], strict=True):
            phase_dict.update({name: getattr(phase, name) for name in DERIVED})
    return {"name": profile.name, "planned": profile.planned, "cases": cases}
