"""How often the headline of a report claims what is not true, and what it finds, in simulations.

    python benchmarks/claims.py

A report compares cases by three metrics, over repeats in which every case runs once, in a random
order. The first table has the share of reports of equal cases in which any two are called
different; in parentheses: what it would be if claims were made from too few repeats. In the second,
one case is 20 % faster than the others: the share of its leads that are claimed, the share of
reports with a false claim, and that with a claim whose interval does not contain the true ratio.
The noise is that of each metric, or of a process, then common to its metrics. The rules are those
of llmbench/analysis/compare/paired.py.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from noise import MACHINES, NOISES, Draw, Floats, far_modes, normal

from llmbench.analysis.compare.paired import ALPHA, holm, min_repeats, p_of_ratios
from llmbench.analysis.stats import t_interval

CASES = (2, 4, 6)
REPEATS = (3, 4, 5, 6, 8)
METRICS = 3
EFFECT = math.log(1.2)


@dataclass(frozen=True)
class Noise:
    """The noise of processes, and the state of the machine in the order in which they run.

    ``metrics`` is 1 for noise that is common to the metrics of a process.
    """

    name: str
    draw: Draw
    machine: Draw | None = None
    metrics: int = METRICS

    def logs(self, rng: np.random.Generator, reports: int, repeats: int, cases: int) -> Floats:
        """Return logarithms by report, repeat, case and metric, of equal cases."""
        values = self.draw(rng, (reports, repeats, cases, self.metrics))
        if self.machine is None:
            return np.broadcast_to(values, (reports, repeats, cases, METRICS))
        order = np.argsort(rng.random((reports, repeats, cases)), axis=-1)
        place = (cases * np.arange(repeats)[:, None] + order).reshape(reports, -1)
        state = self.machine(rng, (reports, repeats * cases))
        return values + np.take_along_axis(state, place, axis=-1).reshape(*order.shape, 1)


def noises() -> Iterator[Noise]:
    """Yield every kind of noise, and 5 % on a machine that changes."""
    yield from (Noise(name, draw) for name, draw in NOISES.items())
    yield Noise("two modes, 2.2 apart, of a process", far_modes, metrics=1)
    yield from (Noise(name, normal, machine) for name, machine in MACHINES.items())


@dataclass(frozen=True)
class Shares:
    """Shares of reports with a false claim and with a missed interval, and of leads found."""

    false: float
    missed: float
    found: float


def judged(logs: Floats, effect: float) -> Shares:
    """Judge reports in which the first case is ahead by ``effect``, a logarithm."""
    first, second = np.triu_indices(logs.shape[2], 1)
    leads = effect * (first == 0)
    ratios = np.moveaxis(logs[:, :, second] - logs[:, :, first], 1, -1) + leads[:, None, None]
    claimed = holm(p_of_ratios(ratios).reshape(len(logs), -1)).reshape(ratios.shape[:-1])
    low, high = t_interval(ratios, 1 - ALPHA / claimed[0].size)
    true = leads[:, None]
    false = claimed & (ratios.mean(axis=-1) * true <= 0)  # no difference, or the other way round
    missed = claimed & ((low > true) | (high < true))
    found = claimed[:, leads > 0].mean() if effect else math.nan
    reports_with = [float(x.any(axis=(1, 2)).mean()) for x in (false, missed)]
    return Shares(reports_with[0], reports_with[1], float(found))


def print_table(title: str, reports: int, effect: float) -> None:
    """Print a row per noise and number of cases, and a column per number of repeats."""
    print(f"\n{title}\n\n| noise between processes | cases |", " | ".join(map(str, REPEATS)), "|")
    print("|---|---|", "---|" * len(REPEATS), sep="")
    for noise in noises():
        for cases in CASES:
            row = (_cell(noise, reports, cases, repeats, effect) for repeats in REPEATS)
            print(f"| {noise.name} | {cases} |", " | ".join(row), "|", flush=True)


def _cell(noise: Noise, reports: int, cases: int, repeats: int, effect: float) -> str:
    too_few = repeats < min_repeats(math.comb(cases, 2) * METRICS)
    if too_few and effect:
        return "–"
    shares = judged(noise.logs(np.random.default_rng(0), reports, repeats, cases), effect)
    if effect:
        return f"{shares.found:.2f} / {shares.false:.3f} / {shares.missed:.3f}"
    return f"({shares.false:.3f})" if too_few else f"{shares.false:.3f}"


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=20_000)
    reports = parser.parse_args().reports
    print_table("Equal cases: reports with a false claim, by repeats", reports, 0.0)
    print_table("One case is 20 % faster: found / false / missed, by repeats", reports, EFFECT)


if __name__ == "__main__":
    main()
