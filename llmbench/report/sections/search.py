"""A search for the best settings: how it went, what it dropped and why, and the front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from llmbench.analysis.halving import MOST, Trial
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.values import Estimate
from llmbench.report import palette
from llmbench.report.charts import (
    MARGIN_HEIGHT,
    NAMES,
    UNIT_NAMES,
    Chart,
    axis,
    drawn_cases,
    left_out,
    safe,
    whiskers,
)
from llmbench.report.charts import layout as layout_of
from llmbench.report.results import Results
from llmbench.report.table import Cell, Column, Table
from llmbench.report.tuning import Settings, searched
from llmbench.report.wording import capitalized
from llmbench.units import format_duration

ROW_HEIGHT = 30
CAPTION = (
    "Points are values of the settings, lines their intervals, circles single runs. Filled points "
    "were not dropped."
)


@dataclass(frozen=True, slots=True)
class SearchSection:
    """The parts of the section."""

    sentences: list[str]
    chart: Chart
    settings: Table
    rungs: Table
    fronts: Table


def section(results: Results) -> SearchSection | None:
    """Return the section of a run set's search; None without one."""
    settings = searched(results.run_set)
    if settings is None:
        return None
    indices = {case.name: case.index for case in results.cases}
    return SearchSection(
        sentences=[settings.conclusion, _course(settings), _cost(settings)],
        chart=_chart(settings, indices),
        settings=settings.table,
        rungs=settings.rungs,
        fronts=_fronts(settings),
    )


def _course(settings: Settings) -> str:
    """Return how the search went, in a few sentences."""
    search = settings.search
    return (
        f"{len(search.settings)} settings were compared by {settings.label} ({search.better} is "
        f"better), by successive halving: {search.first} runs of each setting in the first rung, "
        f"then as many again of those left, up to {MOST}. A setting is dropped if its interval "
        "lies entirely on the worse side of the best one's; a worse value alone decides nothing."
    )


def _cost(settings: Settings) -> str:
    search, runs = settings.search, f"{settings.tuning.runs:,} runs"
    whole = f"{len(search.settings) * MOST:,}"
    budget = f"; the budget was {search.budget}" if search.budget else ""
    return (
        f"The search took {runs} and {format_duration(search.seconds)}{budget}. {MOST} runs of "
        f"every setting would be {whole}."
    )


# -- the chart -------------------------------------------------------------------------------------


def _chart(settings: Settings, indices: dict[str, int]) -> Chart:
    """Draw the metric of each setting with its interval, the best on top."""
    objective = settings.tuning.objective
    unit = METRICS[objective.metric].unit
    every = [(trial, objective.estimate(trial.values)) for trial in settings.ordered]
    known = [(trial, estimate) for trial, estimate in every if estimate.value is not None]
    drawn = drawn_cases(known)
    figure = go.Figure(
        [trace for pair in drawn for trace in _traces(*pair, indices)],
        layout_of(
            height=MARGIN_HEIGHT + ROW_HEIGHT * max(1, len(drawn)),
            xaxis=axis(UNIT_NAMES.get(unit, unit)),
            yaxis=NAMES,
        ),
    )
    return Chart(
        "search",
        f"{capitalized(settings.label)} of the settings",
        figure,
        CAPTION,
        left_out(known),
        "" if known else f"No setting has a value of {settings.label}.",
    )


def _traces(trial: Trial, estimate: Estimate, indices: dict[str, int]) -> Sequence[go.Scatter]:
    name, is_left = safe(trial.setting), trial.status == "left"
    index = indices.get(trial.setting, 0)
    color = palette.case_color(index) if is_left else palette.MUTED
    bars = whiskers(estimate)
    common = {"y": [name], "name": name, "meta": {"case": index}, "mode": "markers"}
    values = estimate.values
    return (
        go.Scatter(
            **common,
            x=[estimate.value],
            marker={"color": color, "size": 10, "symbol": "circle" if is_left else "circle-open"},
            error_x=bars and {**bars, "color": color},
            hovertemplate="%{y}: %{x:,.4~g}<extra></extra>",
        ),
        go.Scatter(
            **{**common, "y": [name] * len(values)},
            x=values,
            marker={"color": palette.INK, "size": 5, "symbol": "circle-open", "line": {"width": 1}},
            hovertemplate="one run: %{x:,.4~g}<extra></extra>",
        ),
    )


# -- the front -------------------------------------------------------------------------------------


def _fronts(settings: Settings) -> Table:
    """Return where each setting stands by the metric and each second one."""
    metrics = list(settings.standings)
    columns = (
        Column("setting", numeric=False),
        *(Column(f"against {METRICS[metric].label}", numeric=False) for metric in metrics),
    )
    rows = tuple(
        (
            Cell(trial.setting),
            *(Cell(settings.standings[of].get(trial.setting, "unknown")) for of in metrics),
        )
        for trial in settings.ordered
    )
    note = (
        "A setting is dominated if another is better in both metrics beyond the intervals, and "
        "undecided if only the values of another are better."
    )
    return Table(f"Pareto front of {settings.label}", columns, rows, note)
