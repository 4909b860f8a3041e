"""Tables of the backends' settings, the sampled machine quantities and the environment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmbench.analysis.engine_time import activity_of
from llmbench.analysis.metrics import Value, series_mean, series_rise
from llmbench.analysis.nodes import kind_of
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import MISSING, PAIR, Cell, Column, Table
from llmbench.report.wording import series_label
from llmbench.runs.series import Series

DIFFERS = "≠"
TOTAL_UNITS = ("J", "preemptions")  # sampled as running totals
UNKNOWN_KIND = "unknown node"

Facts = dict[str, dict[str, list[str]]]  # the runs that have each value, by fact


def settings(results: Results) -> Table:
    """Return the effective settings of each case, and requested values that differ from them."""
    cells = [_settings_of(case) for case in results.measured]
    names = dict.fromkeys(name for case in cells for name in case)
    rows = tuple((Cell(name), *(case.get(name, Cell(MISSING)) for case in cells)) for name in names)
    columns = table.text_columns("setting", *(case.name for case in results.measured))
    note = f"{DIFFERS} marks settings that differ from the request; auto lets the backend choose."
    return Table("Settings", columns, rows, note)


def _settings_of(case: CaseResults) -> dict[str, Cell]:
    """Return each setting's effective value; all values if processes differ."""
    seen: dict[str, dict[tuple[str, str], None]] = {}
    for run in case.runs:
        requested, effective = (run.backend_report.get(k, {}) for k in ("requested", "effective"))
        for name in {**requested, **effective}:
            pair = _plain(requested.get(name)), _plain(effective.get(name))
            seen.setdefault(name, {})[pair] = None
    return {name: _setting(list(pairs)) for name, pairs in seen.items()}


def _setting(pairs: list[tuple[str, str]]) -> Cell:
    text = " / ".join(dict.fromkeys(effective for _, effective in pairs))
    requests = dict.fromkeys(
        requested for requested, effective in pairs if requested not in (effective, MISSING)
    )
    if not requests:
        return Cell(text)
    mark = "" if set(requests) == {"auto"} else f"{DIFFERS} "
    return Cell(text, detail=f"{mark}requested {' / '.join(requests)}")


def environment(results: Results) -> Table:
    """Return the recorded facts on machine and software, one per row; all values if runs differ.

    Several kinds of node have a column each.
    """
    kinds: dict[str | None, Facts] = {}
    for run in results.run_set.runs:
        facts = kinds.setdefault(kind_of(run), {})
        for key, value in _flat(run.environment, ""):
            facts.setdefault(key, {}).setdefault(value, []).append(run.name)
    return _machine(*kinds.values()) if len(kinds) < PAIR else _machines(kinds)


def _machine(facts: Facts | None = None) -> Table:
    rows = tuple((Cell(key), _fact(values)) for key, values in (facts or {}).items())
    return Table("Environment", table.text_columns("fact", "value"), rows)


def _machines(kinds: dict[str | None, Facts]) -> Table:
    names = [UNKNOWN_KIND if kind is None else kind for kind in kinds]
    keys = dict.fromkeys(key for facts in kinds.values() for key in facts)
    rows = tuple(_row(key, [facts.get(key, {}) for facts in kinds.values()]) for key in keys)
    return Table("Environment", table.text_columns("fact", *names), rows)


def _row(key: str, of_kinds: list[dict[str, list[str]]]) -> tuple[Cell, ...]:
    is_same = all(values.keys() == of_kinds[0].keys() for values in of_kinds)
    cells = (_fact(values) if values else table.missing("not recorded") for values in of_kinds)
    return (Cell(key, detail="" if is_same else f"{DIFFERS} differs"), *cells)


def _fact(values: dict[str, list[str]]) -> Cell:
    if len(values) == 1:
        return Cell(next(iter(values)))
    texts = [f"{value} ({len(runs)} runs)" for value, runs in values.items()]
    return Cell(" / ".join(texts), detail="differs between runs")


def _flat(node: Any, at: str) -> Iterable[tuple[str, str]]:
    """Yield nested facts with dotted keys."""
    if isinstance(node, dict) and node:
        for key, inner in node.items():
            yield from _flat(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(node, list) and any(isinstance(item, dict) for item in node):
        for index, inner in enumerate(node):
            yield from _flat(inner, f"{at}[{index}]")
    elif at:
        yield at, _plain(node)


def _plain(value: Any) -> str:
    """Format a setting as in a scenario file."""
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
    """Return each sampled quantity's mean in the steady window; for a running total, its increase.

    The note has the reasons for unavailable quantities.
    """
    sampled: dict[str, dict[int, list[tuple[Series, Value]]]] = {}
    for case, run, observed in results.processes():
        machine = () if run.is_simulated else run.series
        for series in (series for series in machine if not activity_of(series)):
            reduce = series_rise if series.unit in TOTAL_UNITS else series_mean
            value = reduce(series, observed.window)
            sampled.setdefault(series.name, {}).setdefault(case.index, []).append((series, value))
    columns = (
        *table.text_columns("quantity"),
        *(Column(case.name) for case in results.measured),
        *table.text_columns("source"),
    )
    rows = [_quantity_row(name, by_case, results) for name, by_case in sampled.items()]
    known = tuple(row for row in rows if any(cell.value is not None for cell in row))
    note = "Means over the steady windows of all processes; for running totals (J), their increase."
    return Table("Machine", columns, known, " ".join((note, *_unavailable(rows))))


def _unavailable(rows: Iterable[tuple[Cell, ...]]) -> list[str]:
    """Return sentences on the quantities that have no value in any case, with their reasons."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if all(cell.value is None for cell in row):
            reasons = dict.fromkeys(cell.note for cell in row[1:-1])
            names.setdefault("; ".join(reasons), []).append(row[0].text)
    return [f"{'; '.join(quantities)}: {reason}." for reason, quantities in names.items()]


def _quantity_row(
    name: str, by_case: dict[int, list[tuple[Series, Value]]], results: Results
) -> tuple[Cell, ...]:
    known = [series for seen in by_case.values() for series, _ in seen]
    sources = dict.fromkeys(series.source for series in known)
    return (
        Cell(series_label(known[0]), note=name),
        *(_mean(by_case.get(case.index, [])) for case in results.measured),
        Cell("; ".join(source.replace(":", ": ", 1) for source in sources)),
    )


def _mean(seen: list[tuple[Series, Value]]) -> Cell:
    """Return a cell with a quantity's mean over the processes that sampled it."""
    known = [value.value for _, value in seen if value.value is not None]
    if not known:
        return table.missing(seen[0][1].reason if seen else "not sampled")
    mean, unit = sum(known) / len(known), seen[0][0].unit
    return table.reading(mean, unit)
