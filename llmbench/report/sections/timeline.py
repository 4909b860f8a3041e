"""The timeline of a run: requests as bars, machine readings on the same axis."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from llmbench.analysis.engine_time import activity_of
from llmbench.analysis.metrics import RecordArrays
from llmbench.report import palette
from llmbench.report.charts import Chart, axis, layout, safe, thin
from llmbench.report.results import CaseResults, request_key
from llmbench.report.sections import engine_time, queue, throttling
from llmbench.report.sections.queue import is_count, mean_over_time
from llmbench.report.sections.throttling import Throttled
from llmbench.report.table import (
    Cell,
    Column,
    Table,
    count,
    missing,
    quantity,
    reading,
    text_columns,
)
from llmbench.report.wording import series_label
from llmbench.runs.record import SUCCEEDED
from llmbench.runs.run import Run
from llmbench.runs.series import Series

REQUESTS = 400
FIRST, MOST_WHOLE = 80, 100  # requests in view at first, and of a run that is whole in view
TABLED = 50
POINTS = 1000
GANTT_HEIGHT = 330
STRIP_HEIGHT = 82
EDGE_HEIGHT = 100
LEGEND_LIFT = 20
# label, color and share of the row's height of each span
SEGMENTS = {
    "queue": ("in the queue", palette.QUEUE, 0.35),
    "prefill": ("prefill", palette.PREFILL, 1.0),
    "waiting": ("until the first token", palette.WAITING, 0.35),
    "decode": ("decode", palette.DECODE, 0.65),
}
GAP = 0.15  # between rows
STATISTICS = ("minimum", "mean", "maximum")
MARGIN = 0.02  # around the requests in view, as a share of their time
UNITS = {"B": ("MiB", 2.0**20), "Hz": ("GHz", 1e9), "B/s": ("MB/s", 1e6)}
WARMUP_OPACITY = 0.4

Row = dict[str, Any]
Strip = tuple[Series, ...]


def timeline(case: CaseResults) -> Chart:
    """Draw the first measured run of a case: a bar per request, a strip per quantity over time.

    The quantities are the requests that wait and that are in progress, what a local engine does,
    and the machine readings, which a run with a simulated clock has not. Of a long run the first
    requests are in view.
    """
    run = case.runs[0]
    rows = _drawn_requests(run)
    key, title = f"timeline-{case.index}", f"{case.name}, run {run.repeat}"
    if not rows:
        return Chart(key, title, go.Figure(), "", empty="The run has no records of requests.")
    read = [series for series in run.series if len(series.times) and not activity_of(series)]
    read = [] if run.is_simulated else read
    machine = (series for series in read if not throttling.is_mask(series))
    strips: list[Strip] = [
        *((series,) for series in queue.waiting_and_in_progress(run.records)),
        *filter(None, [engine_time.shares(run)]),
        *((series,) for series in machine),
    ]
    throttled = throttling.spans(read)
    figure = _subplots(len(strips))
    marks = (*_failed(rows), *_abandoned(rows))
    for trace in (*_bars(rows), *marks, *_throttled_legend(throttled)):
        figure.add_trace(trace, row=1, col=1)
    for row, strip in enumerate(strips, start=2):
        for series in strip:
            figure.add_trace(_drawn_series(series), row=row, col=1)
    figure.update_layout(_looks(case.observed[0], rows, strips, throttled))
    requests = {"case": case.index, "repeat": run.repeat, "ids": [r["request_id"] for r in rows]}
    figure.update_layout(meta={"requests": requests, **_view(rows)})
    return Chart(
        key,
        title,
        figure,
        _caption(throttled, has_abandoned=any(map(_is_abandoned, rows))),
        _downsampling(run, rows, strips),
        data=(_requests_table(run, rows), _strips_table(strips), throttling.table(throttled)),
    )


def _view(rows: list[Row]) -> dict[str, Any]:
    """Return the ranges of time and rows that are in view at first, and those of the whole run."""
    views = {"whole": rows} if len(rows) <= MOST_WHOLE else {"first": rows[:FIRST], "whole": rows}
    return {name: {"x": _span(seen), "y": _rows_in_view(seen)} for name, seen in views.items()}


def _span(rows: list[Row]) -> list[float]:
    begin, end = min(row["due"] for row in rows), max(map(_last, rows))
    margin = MARGIN * (end - begin)
    return [begin - margin, end + margin]


def _last(row: Row) -> float:
    ends: list[float] = [sum(row[key]) for key in SEGMENTS if row[key]]
    due: float = row["due"]
    return max([due, row["abandoned_at"] or due, *ends])


def _rows_in_view(rows: list[Row]) -> list[float]:
    return [len(rows) - 0.5, -0.5]


def _caption(throttled: list[Throttled], *, has_abandoned: bool) -> str:
    caption = (
        "Each row is a request, the earliest at the top, from its due time to its last token: "
        "waiting is thin, decode thicker, prefill thickest. Warm-up is pale; dashed lines bound "
        "the steady window. A request waits until the backend starts it (if that is not reported: "
        "until its first token), and is in progress until its last token."
    )
    if has_abandoned:
        caption += " A diamond marks when the user of an abandoned request gave up."
    if not throttled:
        return caption
    gpus = ", ".join(dict.fromkeys(span.gpu for span in throttled))
    return f"{caption} Shaded areas between dotted lines: {gpus} was throttled."


def _subplots(strips: int) -> go.Figure:
    """Return subplots for the requests and for each quantity, on one shared time axis."""
    total = GANTT_HEIGHT + strips * STRIP_HEIGHT
    return make_subplots(
        rows=1 + strips,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=28 / total if strips else 0,
        row_heights=[GANTT_HEIGHT, *[STRIP_HEIGHT] * strips],
    )


def _downsampling(run: Run, rows: list[Row], strips: list[Strip]) -> str:
    parts = []
    if len(rows) < run.records.num_rows:
        parts.append(
            f"{len(rows):,} of {run.records.num_rows:,} requests are drawn: the first {FIRST}, and "
            "others sampled evenly."
        )
    if any(len(series.times) > POINTS for series in chain.from_iterable(strips)):
        parts.append(f"Each series is drawn with about {POINTS:,} readings.")
    return " ".join(parts)


# -- requests --------------------------------------------------------------------------------------


def _drawn_requests(run: Run) -> list[Row]:
    """Return the first requests in order of due time and REQUESTS of all, sampled evenly."""
    rows: list[Row] = run.records.take(_drawn(run.records.num_rows, FIRST, REQUESTS)).to_pylist()
    return [{**row, "row": number, **_spans(row)} for number, row in enumerate(rows)]


def _drawn(length: int, first: int, most: int) -> NDArray[np.int64]:
    """Return the indices of the first items and of ``most`` of all, sampled evenly."""
    return np.union1d(np.arange(min(first, length)), thin(length, most))


def _spans(row: Row) -> Row:
    """Return a request's stages as (begin, duration) in seconds; None for stages that it lacks."""
    times, started, due = row["token_times"], row["started"], row["due"]
    first = times[0] if times else row["abandoned_at"]
    last = row["abandoned_at"] or (times[-1] if times else None)
    return {
        "queue": None if started is None else (due, started - due),
        "prefill": None if first is None or started is None else (started, first - started),
        "waiting": (due, first - due) if first and started is None else None,
        "decode": (times[0], last - times[0]) if times else None,
    }


def _bars(rows: list[Row]) -> list[go.Bar]:
    bars = [_segment(rows, key, *looks) for key, looks in SEGMENTS.items()]
    return [bar for bar in bars if bar.x]


def _segment(rows: list[Row], key: str, label: str, color: str, thickness: float) -> go.Bar:
    there = [row for row in rows if row[key]]
    return go.Bar(
        orientation="h",
        name=label,
        base=[row[key][0] for row in there],
        x=[row[key][1] for row in there],
        y=[row["row"] for row in there],
        width=thickness * (1 - GAP if len(rows) < REQUESTS / 4 else 1),
        marker={
            "color": color,
            "opacity": [1.0 if row["phase"] == "measured" else WARMUP_OPACITY for row in there],
            "line": {"width": 0},
        },
        customdata=[_described(row) for row in there],
        hovertemplate=f"%{{customdata}}<br>{label}: %{{x:.4~g}} s<extra></extra>",
    )


def _described(row: Row) -> str:
    return safe(
        f"request {row['request_id']} ({row['phase']}), {row['prompt_tokens']} prompt tokens, "
        f"{row['output_tokens']} output tokens, {row['finish']}"
    )


def _failed(rows: list[Row]) -> list[go.Scatter]:
    """Return markers at the last token (or due time) of failed and unfinished requests."""
    bad = [row for row in rows if row["finish"] not in SUCCEEDED and not _is_abandoned(row)]
    marks = go.Scatter(
        mode="markers",
        name="failed or not finished",
        x=[row["token_times"][-1] if row["token_times"] else row["due"] for row in bad],
        y=[row["row"] for row in bad],
        marker={"symbol": "x", "size": 8, "color": palette.FAILED},
        customdata=[safe(f"{_described(row)}: {row['error_kind'] or ''}") for row in bad],
        hovertemplate="%{customdata}<extra></extra>",
    )
    return [marks] if bad else []


def _is_abandoned(row: Row) -> bool:
    return bool(row["finish"] == "abandoned")


def _abandoned(rows: list[Row]) -> list[go.Scatter]:
    """Return markers at the moments at which users gave up."""
    left = list(filter(_is_abandoned, rows))
    marks = go.Scatter(
        mode="markers",
        name="abandoned by the user",
        x=[row["abandoned_at"] for row in left],
        y=[row["row"] for row in left],
        marker={"symbol": "diamond-open", "size": 8, "color": palette.ABANDONED},
        customdata=[_described(row) for row in left],
        hovertemplate="%{customdata}<extra></extra>",
    )
    return [marks] if left else []


def _requests_table(run: Run, rows: list[Row]) -> Table:
    listed = [rows[index] for index in thin(len(rows), TABLED)]
    columns = (
        *text_columns("request", "phase"),
        *map(Column, ("due", *(label for label, _, _ in SEGMENTS.values()), "output tokens")),
        *text_columns("finish"),
    )
    some = f"{len(listed):,} of {run.records.num_rows:,} requests, sampled evenly."
    note = some if len(listed) < run.records.num_rows else ""
    return Table("Requests", columns, tuple(_request(run, row) for row in listed), note)


def _request(run: Run, row: Row) -> tuple[Cell, ...]:
    opens = request_key(run.case.name, run.repeat, row["request_id"])
    return (
        Cell(f"#{row['request_id']}", opens=opens),
        Cell(row["phase"]),
        quantity(row["due"], "s"),
        *(
            quantity(row[key][1], "s") if row[key] else missing("the request has no such span")
            for key in SEGMENTS
        ),
        count(row["output_tokens"]),
        Cell(row["finish"]),
    )


# -- the machine -----------------------------------------------------------------------------------


def _drawn_series(series: Series) -> go.Scatter:
    drawn = _drawn(len(series.times), 4 * FIRST, POINTS)
    if activity_of(series):
        return engine_time.area(series, drawn)
    unit, size = UNITS.get(series.unit, (series.unit, 1.0))
    return go.Scatter(
        mode="lines",
        name=safe(series_label(series)),
        x=series.times[drawn],
        y=series.values[drawn] / size,
        line={
            "width": 1.5,
            "color": palette.DECODE,
            "shape": "hv" if is_count(series) else "linear",
        },
        showlegend=False,
        hovertemplate=f"%{{x:.3f}} s: %{{y:,.4~g}} {safe(unit)}<extra></extra>",
    )


def _strips_table(strips: list[Strip]) -> Table:
    columns = (
        *text_columns("quantity"),
        *(Column(label, "of all readings") for label in STATISTICS),
    )
    rows = tuple(
        (
            Cell(series_label(series), note=series.name),
            *(reading(value, series.unit) for value in _statistics(series)),
        )
        for series in chain.from_iterable(strips)
    )
    return Table("Quantities during the run", columns, rows)


def _statistics(series: Series) -> tuple[float, float, float]:
    """Return minimum, mean and maximum; a count's mean is weighted by time."""
    mean = mean_over_time(series) if is_count(series) else float(series.values.mean())
    return float(series.values.min()), mean, float(series.values.max())


# -- looks -----------------------------------------------------------------------------------------


def _looks(
    observed: RecordArrays, rows: list[Row], strips: list[Strip], throttled: list[Throttled]
) -> dict[str, Any]:
    height = GANTT_HEIGHT + STRIP_HEIGHT * len(strips)
    last = f"xaxis{len(strips) + 1}" if strips else "xaxis"
    numbers = range(2, len(strips) + 2)
    axes: dict[str, Any] = {f"yaxis{n}": {"nticks": 3, "rangemode": "tozero"} for n in numbers}
    axes["yaxis"] = {"range": [len(rows) - 0.5, -0.5], "showgrid": False, "showticklabels": False}
    axes[last] = axis("seconds since the load began", showticklabels=True)
    return layout(
        barmode="overlay",
        height=height + EDGE_HEIGHT,
        margin={"l": 8, "r": 12, "t": 56, "b": 8},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1 + LEGEND_LIFT / height, "yanchor": "bottom"},
        shapes=[*_window_lines(observed), *map(_shade, throttled)],
        annotations=[*_window_labels(observed), *_strip_titles(strips)],
        **axes,
    )


def _window_lines(observed: RecordArrays) -> list[dict[str, Any]]:
    line = {"color": palette.MUTED, "width": 1, "dash": "dash"}
    return [
        {"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1, "yref": "paper", "line": line}
        for at in observed.window or ()
    ]


def _shade(span: Throttled) -> dict[str, Any]:
    line = {"color": palette.FAILED, "width": 1, "dash": "dot"}
    return {
        "type": "rect", "x0": span.begin, "x1": span.end, "y0": 0, "y1": 1, "yref": "paper",
        "fillcolor": palette.pale(palette.FAILED), "layer": "below", "line": line,
    }  # fmt: skip


def _throttled_legend(throttled: list[Throttled]) -> list[go.Scatter]:
    """Return the legend entry of throttled time spans, with their reasons, if there are any."""
    marker = {"symbol": "square", "size": 12, "color": palette.pale(palette.FAILED)}
    name = f"throttled ({', '.join(dict.fromkeys(span.reasons for span in throttled))})"
    entry = go.Scatter(mode="markers", name=name, x=[None], y=[None], marker=marker)
    return [entry] if throttled else []


def _window_labels(observed: RecordArrays) -> list[dict[str, Any]]:
    if observed.window is None:
        return []
    begin, end = observed.window
    return [_label((begin + end) / 2, "steady window", "center"), _label(end, " drain", "left")]


def _label(x: float, text: str, anchor: str) -> dict[str, Any]:
    return {
        "x": x, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": anchor, "text": text,
        "showarrow": False, "font": {"size": 11},
    }  # fmt: skip


def _strip_title(strip: Strip) -> str:
    if len(strip) > 1:
        return engine_time.TITLE
    (series,) = strip
    unit, _ = UNITS.get(series.unit, (series.unit, 1.0))
    return series_label(series) if is_count(series) else f"{series_label(series)} ({unit})"


def _strip_titles(strips: list[Strip]) -> list[dict[str, Any]]:
    return [
        {
            "xref": "paper", "x": 0, "xanchor": "left", "yanchor": "bottom", "showarrow": False,
            "yref": f"y{number} domain", "y": 1, "font": {"size": 11, "color": palette.INK},
            "text": safe(_strip_title(strip)),
        }
        for number, strip in enumerate(strips, start=2)
    ]  # fmt: skip
