"""How often the tests of a soak find a drift where there is none, and one that is there.

    python benchmarks/soak_false_alarms.py                 # 5 minutes
    python benchmarks/soak_false_alarms.py --runs 500 --json

Simulated soaks of 20, 60 and 120 spans have six quantities each, independent first-order
autoregressive series with the coefficient in the first column; as in a report, Holm's correction
holds over all tests of a soak. ``false alarms`` is the share of soaks without drift in which any
quantity drifts. ``uncorrected`` is the same without regard to autocorrelation. ``found`` is the
share of soaks in which a drift of one quantity is found there: a line that rises by three standard
deviations, and a shift by two in the middle. ``undecided`` is the share of quantities without drift
whose spans are worth too few independent ones for the verdict that there is none.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.table import Table

from llmbench.analysis import drift
from llmbench.analysis.soak import ALPHA, FEWEST_EFFECTIVE, significant

COEFFICIENTS = (0.0, 0.3, 0.6, 0.8, 0.9)
SPANS = (20, 60, 120)
QUANTITIES = 6
LINE, STEP = 3.0, 2.0  # standard deviations
MANY = 1e9  # degrees of freedom: Student's distribution is the normal one


def autoregressive(rng: np.random.Generator, spans: int, coefficient: float) -> np.ndarray:
    """Return a series of standard normal values whose neighbors correlate by the coefficient."""
    noise = rng.standard_normal(spans) * np.sqrt(1 - coefficient**2)
    values = np.empty(spans)
    values[0] = rng.standard_normal()
    for index in range(1, spans):
        values[index] = coefficient * values[index - 1] + noise[index]
    return values


def alarms(series: list[np.ndarray], *, corrected: bool) -> list[bool]:
    """Return which of the quantities of a soak drift."""
    times = np.arange(len(series[0]), dtype=np.float64)
    found = [drift.drift_of(times, values) for values in series]
    if not corrected:
        found = [_uncorrected(one, values) for one, values in zip(found, series, strict=True)]
    return significant([one.p for one in found])


def is_undecided(values: np.ndarray) -> bool:
    """Return whether the values are worth too few independent ones."""
    times = np.arange(len(values), dtype=np.float64)
    return drift.drift_of(times, values).effective < FEWEST_EFFECTIVE


def _uncorrected(one: drift.Drift, values: np.ndarray) -> drift.Drift:
    _, distance = drift._pettitt(values)  # noqa: SLF001
    p_of_shift = drift._p_of_shift(len(values), distance, 1.0, MANY)  # noqa: SLF001
    p_of_trend = drift._p_of_trend(values, 1.0, MANY)  # noqa: SLF001
    return replace(one, p=min(1.0, 2 * min(p_of_trend, p_of_shift)))


def simulate(spans: int, coefficient: float, runs: int, seed: int) -> dict[str, float]:
    rng = np.random.default_rng([seed, spans, int(1000 * coefficient)])
    counts = dict.fromkeys(
        ("false alarms", "uncorrected", "line found", "shift found", "undecided"), 0.0
    )
    line, step = np.linspace(0, LINE, spans), STEP * (np.arange(spans) >= spans // 2)
    for _ in range(runs):
        series = [autoregressive(rng, spans, coefficient) for _ in range(QUANTITIES)]
        counts["undecided"] += sum(map(is_undecided, series)) / QUANTITIES
        counts["false alarms"] += any(alarms(series, corrected=True))
        counts["uncorrected"] += any(alarms(series, corrected=False))
        for name, change in (("line found", line), ("shift found", step)):
            counts[name] += alarms([series[0] + change, *series[1:]], corrected=True)[0]
    return {name: count / runs for name, count in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, help="simulated soaks per row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [
        {"spans": spans, "coefficient": coefficient}
        | simulate(spans, coefficient, arguments.runs, arguments.seed)
        for spans in SPANS
        for coefficient in COEFFICIENTS
    ]
    if arguments.json:
        print(json.dumps({"alpha": ALPHA, "runs": arguments.runs, "rows": rows}, indent=1))
        return
    table = Table(title=f"{arguments.runs} soaks per row; family-wise level {ALPHA:.0%}")
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        spans, coefficient, *shares = row.values()
        table.add_row(str(spans), str(coefficient), *(f"{share:.1%}" for share in shares))
    Console().print(table)


if __name__ == "__main__":
    main()
