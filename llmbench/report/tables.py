"""The tables of a report: pure data, for the terminal, the page and Markdown alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from llmbench.analysis.metrics import (
    LATENCIES,
    PHASE_PEAKS,
    STAGES,
    Value,
    series_mean,
    series_rise,
)
from llmbench.analysis.stats import min_samples_for_percentile, percentile_upper_bound
from llmbench.report.by_case import (
    CASE,
    DAGGER,
    INTERVALS,
    CellOf,
    by_case,
    failed,
    metric_column,
    percentile_column,
)
from llmbench.report.cells import (
    MISSING,
    SHOWN,
    Cell,
    Column,
    Table,
    count,
    estimated,
    missing,
    percentile,
    quantity,
)
from llmbench.report.results import CaseResults, Results
from llmbench.report.sections import findings
from llmbench.runs.record import Series

DIFFERS = "≠"
TOTAL_UNIT = "J"  # energy is watched as a running total

HARNESS = Column(
    "harness", "whether the harness kept up, so that latencies are not its own", numeric=False
)


def _harness(case: CaseResults) -> Cell:
    return Cell(case.health.verdict, detail="; ".join(case.health.reasons))


def headline(results: Results) -> Table:
    """One row a case with what matters most; a column that no case has is left out and named."""
    doubts = findings.find(results)
    columns: list[tuple[Column, CellOf]] = [
        (Column("runs", "processes that were measured"), lambda case: count(len(case.runs))),
        (Column("requests", "measured, in all runs"), lambda case: count(case.requests)),
        metric_column("output_tokens_per_second", "output tokens/s"),
        metric_column("requests_per_second"),
        *(percentile_column(*it) for it in (("ttft", 50), ("ttft", 99), ("itl", 50), ("itl", 99))),
        *(percentile_column(*it) for it in (("e2e", 50), ("e2e", 99))),
        (HARNESS, _harness),
        (Column("failed", "measured requests that failed or were not finished"), failed),
        metric_column("goodput_requests_per_second", "goodput/s"),
        metric_column("slo_attainment", "SLO met"),
        metric_column("mbu", "MBU"),
        metric_column("mfu", "MFU"),
        (Column("cold start", "import, load, compile and first token together"), _cold_start_total),
        metric_column("memory_weights_bytes"),
        metric_column("memory_allocator_peak_bytes", "GPU peak"),
        metric_column("cost_per_million_output_tokens", "cost per 1M tokens"),
        (
            Column("caveats", "reasons to doubt this case"),
            lambda case: count(sum(case.name in doubt.cases for doubt in doubts)),
        ),
    ]
    return by_case("Results", results.cases, columns, (INTERVALS, DAGGER))


def brief(results: Results) -> Table:
    """The headline as narrow as a terminal: medians with the p99 beneath."""
    columns = (
        CASE,
        metric_column("output_tokens_per_second", "output tokens/s")[0],
        metric_column("requests_per_second")[0],
        *(Column(f"{LATENCIES[latency]} p50") for latency in ("ttft", "itl", "e2e")),
        HARNESS,
        Column("failed"),
    )
    return Table("Results", columns, tuple(map(_brief_row, results.cases)))


def _brief_row(case: CaseResults) -> tuple[Cell, ...]:
    return (
        Cell(case.name, detail=_sample_of(case)),
        estimated(case, "output_tokens_per_second"),
        replace(estimated(case, "requests_per_second"), detail=""),
        *(_median_over_p99(case, latency) for latency in ("ttft", "itl", "e2e")),
        replace(_harness(case), detail=""),
        failed(case),
    )


def _sample_of(case: CaseResults) -> str:
    if not case.runs:
        return "not measured"
    each, rest = divmod(case.requests, len(case.runs))
    if rest:
        return f"{case.requests:,} requests / {len(case.runs)}"
    return f"{len(case.runs)} × {each:,} requests"


def _median_over_p99(case: CaseResults, latency: str) -> Cell:
    median, p99 = (percentile(case, latency, p) for p in (50, 99))
    return replace(median, detail=f"p99 {p99.text}" if p99.value is not None else "")


def ladder(results: Results, latency: str) -> Table:
    """One latency, a row a case: percentiles, mean and the samples behind them."""
    columns: list[tuple[Column, CellOf]] = [
        (
            Column("samples", "of all processes"),
            lambda case: count(len(case.pooled(latency))),
        ),
        *(
            (Column(f"p{p}"), partial(percentile, latency=latency, percent=p))
            for p in (50, 90, 95, 99)
        ),
        *(
            (
                Column(f"p{p} at most", "with 99 % confidence, all processes together"),
                partial(_at_most, latency=latency, percent=p),
            )
            for p in (90, 99)
        ),
        (Column("mean"), partial(estimated, metric=f"{latency}_mean")),
    ]
    return by_case(LATENCIES[latency], results.measured, columns, (INTERVALS, DAGGER))


def _at_most(case: CaseResults, latency: str, percent: int) -> Cell:
    """Bound a percentile by MLPerf's early-stopping rule."""
    if latency == "itl":
        return missing("the gaps of one answer are not independent")
    sample, floor = case.pooled(latency), min_samples_for_percentile(percent)
    bound = percentile_upper_bound(sample, percent)
    if not np.isfinite(bound):
        return missing(f"{len(sample):,} samples are too few; {floor} are needed")
    return quantity(bound, "s")


# -- the costs of starting -------------------------------------------------------------------------

TO_FIRST_TOKEN = STAGES[:-1]
MEMORY = ("weights", "kv_cache", "kv_used", "allocator_peak", *PHASE_PEAKS)


def _cold_start_total(case: CaseResults) -> Cell:
    stages = [estimated(case, f"cold_start_{stage}_seconds") for stage in TO_FIRST_TOKEN]
    known = [cell.value for cell in stages if cell.value is not None]
    return quantity(sum(known), "s") if known else stages[0]


def cold_start(results: Results) -> Table:
    """What a case costs before it answers, and until it does so steadily: seconds by stage."""
    columns = [metric_column(f"cold_start_{stage}_seconds") for stage in STAGES]
    return by_case("Cold start", results.measured, columns, (INTERVALS,))


QUALITY = (
    "perplexity_ratio", "perplexity", "kl_divergence", "top1_agreement", "logit_mse",
    "exact_match", "first_divergence", "draft_acceptance",
)  # fmt: skip


def quality(results: Results) -> Table:
    """How the outputs of a case stand to the reference's."""
    columns = [metric_column(name) for name in QUALITY]
    references = {run.quality.reference for case in results.measured for run in case.runs}
    named = ", ".join(sorted(filter(None, references)))
    note = f"Held against {named} on the same tokens." if named else ""
    return by_case("Quality", results.measured, columns, (note,) if note else ())


def memory(results: Results) -> Table:
    """What a case holds in memory: bytes by kind, never one kind as another."""
    columns = [metric_column(f"memory_{kind}_bytes") for kind in MEMORY]
    return by_case("Memory", results.measured, columns, (INTERVALS,))


# -- what was there --------------------------------------------------------------------------------


def settings(results: Results) -> Table:
    """What each backend said it was, case by case, and what was requested where that differs."""
    cells = [_settings_of(case) for case in results.measured]
    names = dict.fromkeys(name for case in cells for name in case)
    rows = tuple((Cell(name), *(case.get(name, Cell(MISSING)) for case in cells)) for name in names)
    columns = (_text("setting"), *(_text(case.name) for case in results.measured))
    note = (
        f"{DIFFERS} marks what is not as it was requested; auto leaves the choice to the backend."
    )
    return Table("Settings", columns, rows, note)


def _settings_of(case: CaseResults) -> dict[str, Cell]:
    """Give each setting's effective value; where processes differ, every value."""
    seen: dict[str, dict[tuple[str, str], None]] = {}
    for account in (run.account for run in case.runs):
        requested, effective = account.get("requested", {}), account.get("effective", {})
        for name in {**requested, **effective}:
            pair = _plain(requested.get(name)), _plain(effective.get(name))
            seen.setdefault(name, {})[pair] = None
    return {name: _setting(list(pairs)) for name, pairs in seen.items()}


def _setting(pairs: list[tuple[str, str]]) -> Cell:
    text = " / ".join(dict.fromkeys(effective for _, effective in pairs))
    others = dict.fromkeys(asked for asked, effective in pairs if asked not in (effective, MISSING))
    if not others:
        return Cell(text)
    mark = "" if set(others) == {"auto"} else f"{DIFFERS} "
    return Cell(text, detail=f"{mark}requested {' / '.join(others)}")


def environment(results: Results) -> Table:
    """The machine and the software, a row a fact; where runs differ, all values are given."""
    facts: dict[str, dict[str, list[str]]] = {}
    for run in results.run_set.runs:
        for key, value in _flat(run.environment, ""):
            facts.setdefault(key, {}).setdefault(value, []).append(run.name)
    rows = tuple((Cell(key), _fact(values)) for key, values in facts.items())
    return Table("Environment", (_text("fact"), _text("value")), rows)


def _fact(values: dict[str, list[str]]) -> Cell:
    if len(values) == 1:
        return Cell(next(iter(values)))
    told = [f"{value} ({len(runs)} runs)" for value, runs in values.items()]
    return Cell(" / ".join(told), detail="differs between runs")


def _flat(node: Any, at: str) -> Iterable[tuple[str, str]]:
    """Walk nested facts and give each with its dotted key."""
    if isinstance(node, dict) and node:
        for key, inner in node.items():
            yield from _flat(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for index, inner in enumerate(node):
            yield from _flat(inner, f"{at}[{index}]")
    elif at:
        yield at, _plain(node)


def _plain(value: Any) -> str:
    """Write a setting as a scenario would."""
    match value:
        case None:
            return MISSING
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return ", ".join(_plain(item) for item in value) or MISSING
        case dict():
            return ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) or MISSING
    return str(value)


def machine(results: Results) -> Table:
    """Each watched quantity, case by case: its mean in the steady window, or a total's rise in it.

    The note names what was not to be had, and why.
    """
    watched: dict[str, dict[int, list[tuple[Series, Value]]]] = {}
    for case, run, observed in results.processes():
        for series in run.series:
            figure = series_rise if series.unit == TOTAL_UNIT else series_mean
            seen = series, figure(series, observed.window)
            watched.setdefault(series.name, {}).setdefault(case.index, []).append(seen)
    columns = (
        _text("quantity"),
        *(Column(case.name) for case in results.measured),
        _text("source"),
    )
    rows = [_watched(name, by_case, results) for name, by_case in watched.items()]
    known = tuple(row for row in rows if any(cell.value is not None for cell in row))
    note = "Means over the steady windows of all processes; of running totals (J), what they rose."
    return Table("Machine", columns, known, " ".join((note, *_unavailable(rows))))


def _unavailable(rows: Iterable[tuple[Cell, ...]]) -> list[str]:
    """Name the quantities that no case has, by reason."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if all(cell.value is None for cell in row):
            reasons = dict.fromkeys(cell.note for cell in row[1:-1])
            names.setdefault("; ".join(reasons), []).append(row[0].text)
    return [f"{', '.join(quantities)}: {reason}." for reason, quantities in names.items()]


def _watched(
    name: str, by_case: dict[int, list[tuple[Series, Value]]], results: Results
) -> tuple[Cell, ...]:
    sources = dict.fromkeys(s.source for seen in by_case.values() for s, _ in seen)
    return (
        Cell(name),
        *(_mean(by_case.get(case.index, [])) for case in results.measured),
        Cell("; ".join(source.replace(":", ": ", 1) for source in sources)),
    )


def _mean(seen: list[tuple[Series, Value]]) -> Cell:
    """Average over the processes that have the quantity."""
    known = [value.value for _, value in seen if value.value is not None]
    if not known:
        return missing(seen[0][1].reason if seen else "not watched")
    mean, unit = sum(known) / len(known), seen[0][0].unit
    cell = quantity(mean, unit)
    return cell if unit in SHOWN else replace(cell, text=f"{cell.text} {unit}")


def _text(label: str) -> Column:
    return Column(label, numeric=False)
