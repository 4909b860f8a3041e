"""The load as sent, metrics by request class and turn, and latency against load."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from llmbench.analysis.compare.differences import schedules
from llmbench.analysis.engine_time import ACTIVITIES, SHARES
from llmbench.analysis.metrics import LATENCIES, RecordArrays
from llmbench.analysis.metrics.fairness import KEYS as FAIRNESS
from llmbench.report import palette, table
from llmbench.report.charts import LEGEND, Chart, axis, layout, log_axis, safe
from llmbench.report.results import CaseResults, Results
from llmbench.report.sweep import by_load, load_key
from llmbench.report.table import DAGGER, INTERVALS, Cell, Column, ColumnOf, Table
from llmbench.runs.caveats import Caveat, message_of_all
from llmbench.runs.run import Run
from llmbench.scenario.slo import Objective
from llmbench.units import parse_rate

JAIN = (
    "Fairness and evenness are Jain's index (Σx)² / (n Σx²): 1 if all are equal, 1/n if one has "
    "everything. x are the median latencies of the classes, or the output tokens of the servers or "
    "replicas. Classes with different prompts differ even if the server treats all requests alike."
)
ENGINE_TIME = tuple(table.metric_column(*it) for it in zip(SHARES, ACTIVITIES, strict=True))
CACHE, UNREPORTED = "prompt_cache", "not reported"


def request_classes(results: Results) -> Table:
    """Return the metrics of each case by request class; no rows without classes."""
    return _parts("Request classes", results, "request_class", "class")


def models(results: Results) -> Table:
    """Return the metrics of each case by the model that requests name; no rows without any."""
    return _parts("Models", results, "model", "model")


def servers(results: Results) -> Table:
    """Return the metrics of each case by the server that requests were sent to.

    No rows if no backend has several servers.
    """
    return _parts("Servers of a backend", results, "url", "server")


def replicas(results: Results) -> Table:
    """Return the metrics of each case by replica, with the time of its engine; no rows without."""
    return _parts("Replicas", results, "replica", "replica", own=ENGINE_TIME)


def fairness(results: Results) -> Table:
    """Return how equal the classes, servers and replicas of each case are; no rows without."""
    cases = [case for case in results.measured if _has_parties(case)]
    columns = [table.metric_column(name) for name in FAIRNESS]
    return table.by_case("Fairness", cases, columns, (JAIN, INTERVALS))


def _has_parties(case: CaseResults) -> bool:
    return any(case.estimates[name].value is not None for name in FAIRNESS)


def turns(results: Results) -> Table:
    """Return the metrics of each case by turn of its sessions; no rows without sessions."""
    in_sessions = [case for case in results.measured if _has_sessions(case)]
    return _parts("Turns of sessions", results, "turn", "turn", in_sessions)


def prompt_cache(results: Results) -> Table:
    """Return the metrics of each case by what its requests found in the prompt cache.

    A hit took prompt tokens from the cache of a server, or from a slot of the local engine. No rows
    for cases that report nothing.
    """
    reporting = [case for case in results.measured if _reports_cache(case)]
    cases = [replace(case, runs=tuple(map(_with_cache, case.runs))) for case in reporting]
    saved = table.metric_column("prompt_cached_share", "cached tokens")
    return _parts("Prompt cache", results, CACHE, "cache", cases, own=[saved])


def _reports_cache(case: CaseResults) -> bool:
    return any(run.records["cached_tokens"].null_count < run.records.num_rows for run in case.runs)


def _with_cache(run: Run) -> Run:
    """Return a run whose records have a column with what their request found in the cache."""
    tokens = run.records["cached_tokens"].to_pylist()
    states = [UNREPORTED if count is None else "hit" if count else "miss" for count in tokens]
    return replace(run, records=run.records.append_column(CACHE, pa.array(states)))


def _has_sessions(case: CaseResults) -> bool:
    return any(run.records["session"].null_count < run.records.num_rows for run in case.runs)


def _parts(
    title: str,
    results: Results,
    column: str,
    label: str,
    cases: list[CaseResults] | None = None,
    *,
    own: Sequence[ColumnOf] = (),
) -> Table:
    whole = results.measured if cases is None else cases
    split = (case.split(column, label) for case in whole)
    columns: list[ColumnOf] = [
        table.REQUESTS,
        table.metric_column("output_tokens_per_second", "tokens/s"),
        *(table.percentile_column(*it) for it in product(("ttft", "tpot", "e2e"), (50, 99))),
        *own,
        *table.outcomes(whole),
        *table.SLO,
    ]
    return table.by_case(title, [*chain.from_iterable(split)], columns, (INTERVALS, DAGGER))


def sent(results: Results) -> Table:
    """Return the warm-up, stop reason, schedule hash and discarded attempts of each case."""
    columns: list[ColumnOf] = [
        (Column("warm-up", "requests excluded from every metric"), _warmup),
        table.metric_column("steady_window_seconds"),
        table.metric_column("drain_seconds"),
        (Column("stopped by", "condition that ended the load", numeric=False), _stopped_by),
        (Column("unsent turns", "of sessions that ended early"), _unsent_turns),
        (Column("schedule", "SHA-256 by repeat, first digits", numeric=False), _schedule),
        (Column("discarded", "attempts at runs that were measured again"), _discarded),
        (Column("LoadGen", "the verdict of MLPerf LoadGen", numeric=False), _loadgen),
    ]
    return table.by_case("The load as sent", results.measured, columns)


def _facts(case: CaseResults, key: str) -> list[Any]:
    """Return the values of a fact, one per run that recorded it."""
    return [run.facts[key] for run in case.runs if key in run.facts]


def _warmup(case: CaseResults) -> Cell:
    cut = {_in_warmup(observed) for observed in case.observed}
    methods = _facts(case, "warmup_method")
    how = f"detected by {methods[0]}" if methods else ""
    return Cell(" / ".join(f"{number:,}" for number in sorted(cut)), min(cut), how)


def _in_warmup(observed: RecordArrays) -> int:
    return int(pc.sum(pc.equal(observed.all["phase"], "warmup")).as_py() or 0)


def _stopped_by(case: CaseResults) -> Cell:
    reasons = dict.fromkeys(chain.from_iterable(_facts(case, "stopped_by")))
    return Cell(", ".join(reasons)) if reasons else table.missing("not recorded")


def _unsent_turns(case: CaseResults) -> Cell:
    if not _has_sessions(case):
        return table.missing("no sessions")
    return table.count(sum(_facts(case, "abandoned_turns")))


def _schedule(case: CaseResults) -> Cell:
    hashes = [digest[:12] for digest in schedules(case.runs).values()]
    first, *others = dict.fromkeys(hashes) or [""]
    more = f" and {len(others)} more" if others else ""
    return Cell(first + more, note=" / ".join(hashes)) if hashes else table.missing("not recorded")


def _discarded(case: CaseResults) -> Cell:
    """Return the number of discarded attempts at a case's runs, with what disturbed them."""
    attempts = [*chain.from_iterable(_facts(case, "discarded_attempts"))]
    if not attempts:
        return table.missing("no run was measured again")
    return replace(table.count(len(attempts)), detail=" ".join(_disturbances(attempts)))


def _disturbances(attempts: Sequence[dict[str, Any]]) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Caveat]] = {}
    for stored in chain.from_iterable(attempt["caveats"] for attempt in attempts):
        caveat = Caveat(**stored)
        if caveat.may_pass:
            alike.setdefault(caveat.key, []).append(caveat)
    yield from map(message_of_all, alike.values())
    for message in dict.fromkeys(attempt["failure"] for attempt in attempts):
        if message:
            yield f"Failed: {message}."


def _loadgen(case: CaseResults) -> Cell:
    if not (verdicts := _facts(case, "mlperf")):
        return table.missing("not an MLPerf load")
    missed = dict.fromkeys(condition for verdict in verdicts for condition in verdict["missed"])
    return Cell(" / ".join(dict.fromkeys(v["result"] for v in verdicts)), detail=", ".join(missed))


# -- latency against load --------------------------------------------------------------------------

KEYS = {"load.rate": "request rate (requests/s)", "load.concurrency": "concurrent requests"}
PERCENTS = ((99, "solid"), (50, "dot"))
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
CAPTION = (
    "Solid lines are the p99, dotted ones the p50, of all processes at a load. Horizontal lines "
    "are objectives for this latency, vertical lines the highest load that met all objectives."
)

# the load, the case, and whether it met the objectives
Point = tuple[float, CaseResults, str]
Curves = dict[str, list[Point]]


def load_curves(results: Results, latencies: Iterable[str]) -> dict[str, Chart]:
    """Draw each latency of each backend and setting against the load; empty without several loads.

    The knee is the highest load that meets the scenario's objectives.
    """
    key = load_key(results.measured)
    curves = _curves(results.measured, key) if key else {}
    if key is None or all(len(curve) == 1 for curve in curves.values()):
        return {}
    slo = results.spec.get("slo") or {}
    return {latency: _chart(curves, latency, key, slo) for latency in latencies}


def _curves(cases: Sequence[CaseResults], key: str) -> Curves:
    """Return the cases by backend and other swept settings, in order of load."""
    return {
        name: [(parse_rate(case.point[key]), case, case.objectives or "none") for _, case in curve]
        for name, curve in by_load(cases, key).items()
    }


def _chart(curves: Curves, latency: str, key: str, slo: dict[str, Any]) -> Chart:
    yaxis = log_axis(f"{LATENCIES[latency]} (s)", _heights(curves, latency))
    figure = go.Figure(
        [
            _line(f"{safe(name)} p{percent}", curve, f"{latency}_p{percent}", number, dash)
            for number, (name, curve) in enumerate(curves.items())
            for percent, dash in PERCENTS
        ]
        + [_level(curves, *bound) for bound in _bounds(slo, latency)],
        layout(
            height=340,
            showlegend=len(curves) > 1,
            legend=LEGEND,
            xaxis=axis(KEYS[key], rangemode="tozero"),
            yaxis=yaxis,
            meta={"latency_axis": "yaxis", "dtick": yaxis["dtick"]},
        ),
    )
    for number, (name, curve) in enumerate(curves.items()):
        _mark_knee(figure, number, name, curve)
    drawn = [line for line in figure.data if line.meta]
    empty = "" if any(line.x for line in drawn) else "No measured request has this latency."
    data = _table(curves, latency, key)
    return Chart(f"load-{latency}", data.title, figure, CAPTION, empty=empty, data=(data,))


def _heights(curves: Curves, latency: str) -> Iterator[float]:
    """Yield the drawn values of a latency."""
    for _, case, _ in chain.from_iterable(curves.values()):
        for percent, _ in PERCENTS:
            yield case.estimates[f"{latency}_p{percent}"].value or 0.0


def _line(name: str, curve: Sequence[Point], metric: str, number: int, dash: str) -> go.Scatter:
    known = [(at, case, case.estimates[metric].value) for at, case, _ in curve]
    drawn = [(at, case.index, value) for at, case, value in known if value is not None]
    return go.Scatter(
        x=[at for at, _, _ in drawn],
        y=[value for _, _, value in drawn],
        meta={"cases": [index for _, index, _ in drawn]},
        name=name,
        mode="lines+markers",
        line={"color": palette.case_color(number), "dash": dash, "width": 2},
        marker={"size": 7, "symbol": SYMBOLS[number % len(SYMBOLS)]},
        text=[table.show(value, "s") for _, _, value in drawn],
        hovertemplate=f"{name}: %{{text}} at %{{x:.4~g}}<extra></extra>",
    )


def _bounds(slo: dict[str, float], latency: str) -> Iterator[tuple[str, float]]:
    """Yield each objective for a latency, as text and as its bound in seconds."""
    for key, bound in slo.items():
        objective = Objective.of(key)
        if objective.quantity == latency:
            of_class = f"{objective.request_class}: " if objective.request_class else ""
            yield f"{of_class}p{objective.percent:g} ≤ {table.show(bound, 's')}", bound


def _level(curves: Curves, label: str, bound: float) -> go.Scatter:
    loads = [at for curve in curves.values() for at, _, _ in curve]
    return go.Scatter(
        x=[min(loads), max(loads)],
        y=[bound, bound],
        name=safe(label),
        mode="lines+text",
        text=["", safe(label)],
        textposition="top left",
        line={"color": palette.INK, "dash": "longdash", "width": 1.5},
        showlegend=False,
        hovertemplate=f"objective: {safe(label)}<extra></extra>",
    )


def _mark_knee(figure: go.Figure, number: int, name: str, curve: Sequence[Point]) -> None:
    met = [at for at, _, objectives in curve if objectives == "met"]
    if met:
        figure.add_vline(
            x=max(met),
            line={"color": palette.case_color(number), "dash": "dash", "width": 1.5},
            annotation_text=f"{safe(name)}: {max(met):.4g}",
            annotation_position="top left",
        )


def _table(curves: Curves, latency: str, key: str) -> Table:
    percents = [percent for percent, _ in reversed(PERCENTS)]
    columns = (
        *table.text_columns("backend"),
        Column(KEYS[key]),
        *(Column(f"{LATENCIES[latency]} p{percent}") for percent in percents),
        Column("objectives", "whether the scenario's objectives are met", numeric=False),
    )
    rows = tuple(
        (
            Cell(name),
            Cell(f"{at:g}", at),
            *(table.percentile(case, latency, percent) for percent in percents),
            Cell(objectives),
        )
        for name, curve in curves.items()
        for at, case, objectives in curve
    )
    return Table(f"{LATENCIES[latency]} against load", columns, rows, DAGGER)
