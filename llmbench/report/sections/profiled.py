"""A profile as sentences, tables and a chart."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go

from llmbench.analysis.trace.categories import CATEGORIES
from llmbench.report import palette
from llmbench.report.charts import Chart, axis, safe, stacked
from llmbench.report.table import Cell, Column, Table, quantity, show, text_columns
from llmbench.runs.profile import CaseProfile, PhaseProfile, Profile
from llmbench.units import format_number

NAMED = 3  # categories that a sentence names
LONGEST_NAME = 72
COLORS = dict(zip(CATEGORIES, (*palette.CASES[:6], palette.QUEUE), strict=True))
PATTERNS = dict(zip(CATEGORIES, ("", "/", ".", "x", "-", "\\", ""), strict=True))


def answer(profile: Profile) -> list[str]:
    """Return the largest categories of step time, one sentence per phase."""
    return [_sentence(case, phase) for case, phase in profile.phases()]


def _sentence(case: CaseProfile, phase: PhaseProfile) -> str:
    ordered = sorted(phase.breakdown.shares.items(), key=lambda item: -item[1])[:NAMED]
    parts = [f"{CATEGORIES[category]} {show(share, 'share')}" for category, share in ordered]
    launches = format_number(phase.launches_per_token)
    return (
        f"{_name(case, phase)}: a step takes {show(phase.seconds, 's')}, most of it in "
        f"{', '.join(parts)}; {launches} launches per token."
    )


def completeness(profile: Profile) -> str:
    """Return how many of the planned cases were profiled, as a sentence."""
    done = len(profile.cases) - len(profile.failed)
    return f"{done} of {len(profile.planned)} cases profiled."


def _name(case: CaseProfile, phase: PhaseProfile) -> str:
    return f"{case.case.name}, {phase.phase}"


def _named(case: CaseProfile, phase: PhaseProfile) -> Cell:
    rows = f"{phase.rows} row{'s' * (phase.rows > 1)}"
    return Cell(_name(case, phase), detail=f"{rows}, {_span(*phase.cache_tokens)} tokens")


def _span(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def phases(profile: Profile) -> Table:
    """Return step times, kernels and launches, one row per case and phase."""
    columns = (
        *text_columns("case, phase"),
        Column("step", "median time without the profiler"),
        Column("profiled", "median step with the profiler ÷ median step without"),
        Column("busy", "mean time per profiled step in which an operator or kernel runs"),
        Column("host gap", "mean time per profiled step in which nothing runs"),
        Column("kernels/step", "on a CPU: operator calls"),
        Column("launches/step", "by the host, a CUDA graph as one; on a CPU: outermost calls"),
        Column("launches/token", "per new token of all rows"),
    )
    rows = tuple(_phase_row(case, phase) for case, phase in profile.phases())
    note = "Below each case: rows per step and cached tokens per row."
    return Table("Steps", columns, rows, note)


def _phase_row(case: CaseProfile, phase: PhaseProfile) -> tuple[Cell, ...]:
    low, high = min(phase.breakdown.kernels), max(phase.breakdown.kernels)
    per_token = phase.launches_per_token
    return (
        _named(case, phase),
        quantity(phase.seconds, "s"),
        Cell(f"× {phase.ratio:.2f}", phase.ratio),
        quantity(phase.breakdown.busy_seconds, "s"),
        quantity(phase.idle_seconds, "s"),
        Cell(_span(low, high), low if low == high else None),
        Cell(format_number(phase.launches_per_step), phase.launches_per_step),
        Cell(format_number(per_token), per_token),
    )


def shares(profile: Profile) -> Table:
    """Return the shares of step time by category, one row per case and phase."""
    columns = (*text_columns("case, phase"), *map(Column, CATEGORIES.values()))
    rows = tuple(
        (Cell(case.case.name, detail=phase.phase), *_shares(phase))
        for case, phase in profile.phases()
    )
    return Table("Shares of a step, %", columns, rows)


def _shares(phase: PhaseProfile) -> Iterator[Cell]:
    for category in CATEGORIES:
        share = phase.breakdown.shares.get(category, 0.0)
        yield Cell(f"{100 * share:.1f}", share)


def uses(case: CaseProfile, phase: PhaseProfile, most: int) -> Table:
    """Return the kernels or operators that take the most time in a phase, one per row."""
    columns = (
        *text_columns("operator" if case.device == "cpu" else "kernel", "category"),
        Column("calls/step"),
        Column("per call", "mean"),
        Column("per step"),
        Column("share", "of the step"),
    )
    rows = tuple(
        (
            Cell(_short(use.name), note=use.name),
            Cell(CATEGORIES[use.category]),
            Cell(f"{use.calls:,.4g}", use.calls),
            quantity(use.seconds / use.calls, "s"),
            quantity(use.seconds, "s"),
            Cell(show(use.share, "share"), use.share),
        )
        for use in phase.breakdown.uses[:most]
    )
    rest = phase.breakdown.uses[most:]
    note = f"{len(rest)} more take {show(sum(use.share for use in rest), 'share')}." if rest else ""
    return Table(_name(case, phase), columns, rows, note)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def settings(profile: Profile) -> Table:
    """Return the effective settings of each case."""
    rows = tuple(
        (Cell(case.case.name), Cell(", ".join(f"{k} {v}" for k, v in case.settings.items())))
        for case in profile.cases
        if not case.failure
    )
    return Table("Settings", text_columns("case", "settings"), rows)


def chart(profile: Profile) -> Chart:
    """Draw each phase's step time as a bar, divided into categories."""
    drawn = list(profile.phases())
    names = [safe(_name(case, phase)) for case, phase in drawn]
    figure = go.Figure(
        [
            go.Bar(
                orientation="h",
                name=label,
                x=[100 * phase.breakdown.shares.get(key, 0.0) for _, phase in drawn],
                y=names,
                marker={"color": COLORS[key], "pattern": {"shape": PATTERNS[key], "size": 6}},
                hovertemplate=f"%{{y}}: {label} %{{x:.1f}} %<extra></extra>",
            )
            for key, label in CATEGORIES.items()
        ],
        stacked(len(names), axis("share of the step (%)", range=[0, 100])),
    )
    caption = (
        "Share of the step time by category. Idle is time in which no operator (on a CPU) or "
        "kernel (on a GPU) runs: Python, dispatch and launches."
    )
    empty = "" if drawn else "No case was profiled."
    data = (shares(profile),)
    return Chart("shares", "Step time by category", figure, caption, empty=empty, data=data)
