"""A profile as one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from llmbench.report.pages.page import moment, render_template, write_text
from llmbench.report.sections import profiled
from llmbench.runs.profile import Profile

LISTED = 25


def write_profile(profile: Profile, path: Path) -> None:
    """Write the page whole or not at all; raises InputError when the file cannot be written."""
    write_text(path, render(profile))


def render(profile: Profile) -> str:
    """Make the page's text."""
    return render_template(
        "profile.html.j2",
        home="",
        profile=profile,
        began=moment(profile.began_at),
        answer=profiled.answer(profile),
        completeness=profiled.completeness(profile),
        chart_of_shares=profiled.chart(profile),
        phases=profiled.phases(profile),
        uses=[
            (profiled.uses(case, phase, LISTED), phase.trace) for case, phase in profile.phases()
        ],
        settings=profiled.settings(profile),
        caveats=[(case.case, caveat) for case in profile.cases for caveat in case.caveats],
        charted=any(case.phases for case in profile.cases),
    )
