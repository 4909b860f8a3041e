"""Energy of each case, its error budget, and its division into prefill and decode."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, pairwise
from statistics import median

from llmbench.analysis.energy import GAINS, CounterEnergy
from llmbench.analysis.values import Estimate, Value, estimate
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import INTERVALS, Cell, Column, ColumnOf, Table

OUTPUT_TOKENS = "workload.output_tokens"
PER_REQUEST, PER_TOKEN = "energy_joules_per_request", "energy_joules_per_output_token"
ALLOCATED = (
    "Energy per request is the energy of the steady window divided by the requests that ended in "
    "it: a measurement if one request is served at a time, an allocation in equal parts otherwise."
)


def energy(results: Results) -> Table:
    """Return each case's energy per token and request, power and cost, or why they are unknown."""
    columns: list[ColumnOf] = [
        (Column("counters", "the counters that are summed", numeric=False), _method),
        table.metric_column(PER_TOKEN, "J per output token"),
        table.metric_column("energy_joules_per_total_token", "J per token"),
        table.metric_column(PER_REQUEST, "J per request"),
        table.metric_column("energy_power_watts"),
        table.metric_column("energy_idle_watts"),
        table.metric_column("energy_run_joules", "whole run"),
        table.metric_column("energy_cost_per_million_output_tokens", "electricity per 1M tokens"),
        table.metric_column("carbon_grams_per_million_output_tokens", "g CO2 per 1M tokens"),
    ]
    is_known = any(case.energy_parts for case in results.measured)
    notes = (ALLOCATED, INTERVALS) if is_known else ()
    return table.by_case("Energy", results.measured, columns, notes)


def _method(case: CaseResults) -> Cell:
    counters = dict.fromkeys(f"{p.name} {p.method}" for parts in case.energy_parts for p in parts)
    if counters:
        return Cell(" + ".join(counters))
    return table.missing(case.estimates["energy_power_watts"].reason)


# -- the error budget ------------------------------------------------------------------------------


def budget(results: Results) -> Table:
    """Return the error budget of each counter, one row per case and counter."""
    columns = (
        *table.text_columns("case", "counter"),
        Column("processes"),
        Column("window", "the shortest of all processes, from one counter update to another"),
        Column("update period", "of the counter, measured before the load"),
        Column("gain", "systematic error of the counter; cancels on one device"),
        Column("edges", "maximum error from the counter's reading interval"),
        Column("against power", "maximum deviation of the integrated power from the counter"),
        Column("run to run", "half the interval over processes of the energy per output token"),
    )
    rows = (
        _budget_row(case, name, list(parts))
        for case in results.measured
        for name, parts in groupby(_parts(case), key=lambda part: part.name)
    )
    note = (
        "The components are not summed. On one device gains cancel, and only run-to-run variation "
        "remains; between devices they do not. Only the named boards or packages are included."
    )
    return Table("Error budget", columns, tuple(rows), note)


def _parts(case: CaseResults) -> list[CounterEnergy]:
    return sorted((p for parts in case.energy_parts for p in parts), key=lambda part: part.name)


def _budget_row(case: CaseResults, name: str, parts: list[CounterEnergy]) -> tuple[Cell, ...]:
    method = parts[0].method
    periods = [part.period for part in parts if part.period is not None]
    apart = [part.disagreement for part in parts if part.disagreement is not None]
    return (
        Cell(case.name),
        Cell(f"{name} {method}"),
        table.count(len(parts)),
        table.quantity(min(part.seconds for part in parts), "s"),
        table.quantity(median(periods) if periods else None, "s", "not measured"),
        _gain(method),
        _share(max(part.edge for part in parts)),
        _share(max(apart)) if apart else table.missing("power was not sampled"),
        _run_to_run(case),
    )


def _gain(method: str) -> Cell:
    if (gain := GAINS.get(method)) is None:
        return table.missing(f"no published bound for {method}")
    low, high = gain
    return Cell(f"{100 * low:+.0f} to {100 * high:+.0f} %")


def _share(share: float) -> Cell:
    return Cell(f"{100 * share:.2f} %", share)


def _run_to_run(case: CaseResults) -> Cell:
    joules = case.estimates[PER_TOKEN]
    if joules.value is None or joules.low is None or joules.high is None:
        return table.missing(joules.reason)
    return _share((joules.high - joules.low) / 2 / joules.value)


# -- prefill and decode ----------------------------------------------------------------------------


def phases(results: Results) -> Table:
    """Return the energy of prefill and decode, from outputs of two lengths.

    For cases that serve one request at a time and differ only in output tokens: the energy of
    a one-token output is prefill, the additional energy of a longer output is decode.
    """
    columns = (
        *table.text_columns("case", "outputs"),
        *map(Column, ("prefill", "J per decoded token")),
    )
    rows = tuple(_split_row(short, long) for short, long in _pairs(results))
    note = (
        "One request at a time. Prefill is the energy of a one-token output, decode the additional "
        "energy per further token; its interval is over the differences of repeats."
    )
    return Table("Prefill and decode", columns, rows, note)


def _pairs(results: Results) -> Iterator[tuple[CaseResults, CaseResults]]:
    cases = [case for case in results.measured if _is_sequential(case)]
    cases.sort(key=lambda case: (_rest(case), case.point[OUTPUT_TOKENS]))
    for short, long in pairwise(cases):
        if _rest(short) == _rest(long) and short.point[OUTPUT_TOKENS] == 1:
            yield short, long


def _is_sequential(case: CaseResults) -> bool:
    """Return whether a case serves one request at a time, with a known output length and energy."""
    load = case.runs[0].case.spec.get("load") or {}
    return (
        load.get("kind") == "closed"
        and load.get("concurrency", 1) == 1
        and isinstance(case.point.get(OUTPUT_TOKENS), int)
        and bool(case.estimates[PER_REQUEST].value)
    )


def _rest(case: CaseResults) -> tuple[str, list[tuple[str, str]]]:
    """Return a case's backend and sweep values, except its output length."""
    return case.backend, sorted((k, str(v)) for k, v in case.point.items() if k != OUTPUT_TOKENS)


def _split_row(short: CaseResults, long: CaseResults) -> tuple[Cell, ...]:
    few, many = short.point[OUTPUT_TOKENS], long.point[OUTPUT_TOKENS]
    return (
        Cell(long.name),
        Cell(f"{few} and {many} tokens"),
        table.estimated(short, PER_REQUEST),
        _per_token(_difference(short, long), many - few),
    )


def _difference(short: CaseResults, long: CaseResults) -> Estimate:
    """Estimate how many more joules a request of the long case takes, paired by repeat."""
    of_short, of_long = _joules(short), _joules(long)
    both = sorted(of_short.keys() & of_long.keys())
    return estimate([Value(of_long[r] - of_short[r]) for r in both], "signed")


def _joules(case: CaseResults) -> dict[int, float]:
    """Return the known energies per request by repeat."""
    values = [summary[PER_REQUEST].value for summary in case.summaries]
    pairs = zip(case.runs, values, strict=True)
    return {run.repeat: joules for run, joules in pairs if joules is not None}


def _per_token(joules: Estimate, tokens: int) -> Cell:
    if joules.value is None or joules.low is None or joules.high is None:
        return table.missing(joules.reason)
    value, low, high = (end / tokens for end in (joules.value, joules.low, joules.high))
    return Cell(table.show(value, "J"), value, table.show_interval(low, high, "J"))
