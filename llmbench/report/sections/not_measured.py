"""What no case measured: why not, and how to get it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from llmbench.report.results import Results
from llmbench.report.table import Cell, Table, text_columns


class _Quantity(NamedTuple):
    what: str
    metric: str
    remedy: str


QUANTITIES = (
    _Quantity("objectives", "slo_attainment", "Add `slo: {ttft_p99: 500 ms}` to the scenario."),
    _Quantity("quality", "kl_divergence", "Add `quality: {}` to the scenario."),
    _Quantity(
        "determinism under load",
        "changed_under_load",
        "Add `quality: {under_load: 16}` to the scenario.",
    ),
    _Quantity("memory", "memory_weights_bytes", "Measure a local backend."),
    _Quantity(
        "energy",
        "energy_joules_per_output_token",
        "Add `energy` to `collect`; `llmbench doctor` shows what can be read on this machine.",
    ),
    _Quantity(
        "cost", "cost_per_million_output_tokens", "Add `price_per_hour: 2.5` to the scenario."
    ),
    _Quantity(
        "hardware utilization", "mbu", "Measure a local backend whose model costs are known."
    ),
)
PROFILE = (
    "time of kernels and operators",
    "a profile slows the steps, so it is a run of its own",
    "`llmbench profile SCENARIO --out DIR`, then `llmbench report … --profile DIR`.",
)


def not_measured(results: Results, *, has_machine: bool, has_profile: bool) -> Table:
    """Return one row per quantity that no measured case has."""
    rows = _rows(results, has_machine=has_machine, has_profile=has_profile)
    cells = tuple(tuple(map(Cell, row)) for row in rows)
    return Table("Not measured", text_columns("what", "why", "how to get it"), cells)


def _rows(
    results: Results, *, has_machine: bool, has_profile: bool
) -> Iterator[tuple[str, str, str]]:
    for what, metric, remedy in QUANTITIES:
        estimates = [case.estimates[metric] for case in results.measured]
        if all(estimate.value is None for estimate in estimates):
            reasons = dict.fromkeys(estimate.reason or "unknown" for estimate in estimates)
            yield what, "; ".join(reasons), remedy
    if not has_machine:
        yield "machine readings", _without_readings(results), "Add `cpu` or `gpu` to `collect`."
    if not has_profile:
        yield PROFILE


def _without_readings(results: Results) -> str:
    """Return why there are no readings of the machine."""
    if any(run.is_simulated for run in results.run_set.runs):
        return "the clock is simulated"
    series = [series for run in results.run_set.runs for series in run.series]
    reasons = dict.fromkeys(one.why_unavailable for one in series if not one.available)
    return "; ".join(filter(None, reasons)) or "no collector has a reading"
