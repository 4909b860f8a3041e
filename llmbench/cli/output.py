"""Print stored results as a table or as JSON, for several commands."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmbench.runs.profile import Profile
    from llmbench.runs.run_set import RunSet

DERIVED = ("seconds", "ratio", "idle_seconds", "launches_per_step", "launches_per_token")


def write_report(stored: RunSet | Profile) -> Path:
    """Write report.html in the folder of stored results and return its path."""
    from llmbench import report

    page = stored.folder / "report.html"
    report.write(stored, page)
    return page


def print_result(
    stored: RunSet | Profile, page: Path, arguments: argparse.Namespace, **more: Any
) -> None:
    """Print stored results as selected by ``--json`` and ``--quiet``; ``more`` extends the JSON."""
    if arguments.json:
        print(json.dumps({**as_dict(stored, page), **more}, indent=1))
    elif not arguments.quiet:
        print_table(stored, page)


def print_table(stored: RunSet | Profile, page: Path) -> None:
    """Print the table of stored results, and the paths of the results and their report."""
    from llmbench import report

    report.show(stored)
    print(f"\nresults  {stored.folder}\nreport   {page}")


def as_dict(stored: RunSet | Profile, page: Path) -> dict[str, Any]:
    """Return the summary of a run set, or all numbers of a profile, with folder and report path."""
    from llmbench.report.frames import summary
    from llmbench.runs.run_set import RunSet

    numbers = summary(stored) if isinstance(stored, RunSet) else _profile_as_dict(stored)
    return {"folder": str(stored.folder), "report": str(page), **numbers}


def _profile_as_dict(profile: Profile) -> dict[str, Any]:
    cases = asdict(profile)["cases"]
    for case, case_dict in zip(profile.cases, cases, strict=True):
        case_dict |= {"case": case.case.name, "slug": case.case.slug}
        case_dict |= {"backend": case.case.backend, "point": case.case.point}
        case_dict["caveats"] = [caveat.in_full() for caveat in case.caveats]
        for phase, phase_dict in zip(case.phases, case_dict["phases"], strict=True):
            phase_dict.update({name: getattr(phase, name) for name in DERIVED})
    return {"name": profile.name, "planned": profile.planned, "cases": cases}
