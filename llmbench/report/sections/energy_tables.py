"""Energy of each case, its error budget, and its division into prefill and decode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from statistics import median

from llmbench.analysis.energy import GAINS, CounterEnergy
from llmbench.analysis.values import Estimate, Value, estimate
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import (
    CASE,
    INTERVALS,
    Cell,
    CellOf,
    Column,
    Table,
    by_case,
    count,
    estimated,
    metric_column,
    missing,
    show,
    show_interval,
)

OUTPUT_TOKENS = "workload.output_tokens"
ALLOCATED = (
    "Energy per request is the energy of the steady window divided by the requests that ended in "
    "it: a measurement if one request is served at a time, an allocation in equal parts otherwise."
)


def energy(results: Results) -> Table:
    """Return each case's energy per token and request, power and cost, or why they are unknown."""
    columns: list[tuple[Column, CellOf]] = [
        (Column("counters", "the counters that are summed", numeric=False), _method),
        metric_column("energy_joules_per_output_token", "J per output token"),
        metric_column("energy_joules_per_total_token", "J per token"),
        metric_column("energy_joules_per_request", "J per request"),
        metric_column("energy_power_watts"),
        metric_column("energy_idle_watts"),
        metric_column("energy_run_joules", "whole run"),
        metric_column("energy_cost_per_million_output_tokens", "electricity per 1M tokens"),
        metric_column("carbon_grams_per_million_output_tokens", "g CO2 per 1M tokens"),
    ]
    is_known = any(case.energy_parts for case in results.measured)
    notes = (ALLOCATED, INTERVALS) if is_known else ()
    return by_case("Energy", results.measured, columns, notes)


def _method(case: CaseResults) -> Cell:
    counters = dict.fromkeys(f"{p.name} {p.method}" for parts in case.energy_parts for p in parts)
    if counters:
        return Cell(" + ".join(counters))
    return missing(case.estimates["energy_power_watts"].reason)


# -- the error budget ------------------------------------------------------------------------------


def budget(results: Results) -> Table:
    """Return the error budget of each counter, one row per case and counter."""
    columns = (
        CASE,
        Column("counter", numeric=False),
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
    first = parts[0]
    shortest = min(part.seconds for part in parts)
    periods = [part.period for part in parts if part.period is not None]
    apart = [part.disagreement for part in parts if part.disagreement is not None]
    return (
        Cell(case.name),
        Cell(f"{name} {first.method}"),
        count(len(parts)),
        Cell(show(shortest, "s"), shortest),
        Cell(show(median(periods), "s"), median(periods)) if periods else missing("not measured"),
        _gain(first.method),
        _share(max(part.edge for part in parts)),
        _share(max(apart)) if apart else missing("power was not sampled"),
        _run_to_run(case),
    )


def _gain(method: str) -> Cell:
    gain = GAINS.get(method)
    if gain is None:
        return missing(f"no published bound for {method}")
    low, high = gain
    return Cell(f"{100 * low:+.0f} to {100 * high:+.0f} %")


def _share(share: float) -> Cell:
    return Cell(f"{100 * share:.2f} %", share)


def _run_to_run(case: CaseResults) -> Cell:
    joules = case.estimates["energy_joules_per_output_token"]
    if joules.value is None or joules.low is None or joules.high is None:
        return missing(joules.reason)
    return _share((joules.high - joules.low) / 2 / joules.value)


# -- prefill and decode ----------------------------------------------------------------------------


def phases(results: Results) -> Table:
    """Return the energy of prefill and decode, from outputs of two lengths.

    For cases that serve one request at a time and differ only in output tokens: the energy of
    a one-token output is prefill, the additional energy of a longer output is decode.
    """
    columns = (
        CASE,
        Column("outputs", numeric=False),
        Column("prefill"),
        Column("J per decoded token"),
    )
    rows = tuple(_split_row(short, long) for short, long in _pairs(results))
    note = (
        "One request at a time. Prefill is the energy of a one-token output, decode the additional "
        "energy per further token; its interval is over the differences of repeats."
    )
    return Table("Prefill and decode", columns, rows, note)


@dataclass(frozen=True, slots=True)
class _Single:
    """A case that serves one request at a time, with its output length in tokens."""

    case: CaseResults
    output_tokens: int


def _pairs(results: Results) -> Iterator[tuple[_Single, _Single]]:
    singles = [single for case in results.measured for single in _single(case)]
    singles.sort(key=lambda single: (_rest(single.case), single.output_tokens))
    for short, long in pairwise(singles):
        if _rest(short.case) == _rest(long.case) and short.output_tokens == 1:
            yield short, long


def _single(case: CaseResults) -> Iterator[_Single]:
    tokens, load = case.point.get(OUTPUT_TOKENS), case.runs[0].case.spec["load"]
    alone = load["kind"] == "closed" and load.get("concurrency", 1) == 1
    if alone and isinstance(tokens, int) and case.estimates["energy_joules_per_request"].value:
        yield _Single(case, tokens)


def _rest(case: CaseResults) -> tuple[str, list[tuple[str, str]]]:
    """Return a case's backend and sweep values, except its output length."""
    rest = sorted((key, str(v)) for key, v in case.point.items() if key != OUTPUT_TOKENS)
    return case.backend, rest


def _split_row(short: _Single, long: _Single) -> tuple[Cell, ...]:
    more = long.output_tokens - short.output_tokens
    return (
        Cell(long.case.name),
        Cell(f"{short.output_tokens} and {long.output_tokens} tokens"),
        estimated(short.case, "energy_joules_per_request"),
        _per_token(_difference(short.case, long.case), more),
    )


def _difference(short: CaseResults, long: CaseResults) -> Estimate:
    """Estimate how many more joules a request of the long case takes, paired by repeat."""
    of_short, of_long = _joules(short), _joules(long)
    both = sorted(of_short.keys() & of_long.keys())
    return estimate([Value(of_long[r] - of_short[r]) for r in both], "signed")


def _joules(case: CaseResults) -> dict[int, float]:
    """Return the known energies per request by repeat."""
    values = [summary["energy_joules_per_request"].value for summary in case.summaries]
    pairs = zip(case.runs, values, strict=True)
    return {run.repeat: joules for run, joules in pairs if joules is not None}


def _per_token(joules: Estimate, tokens: int) -> Cell:
    if joules.value is None or joules.low is None or joules.high is None:
        return missing(joules.reason)
    value, low, high = (end / tokens for end in (joules.value, joules.low, joules.high))
    return Cell(show(value, "J"), value, show_interval(low, high, "J"))
