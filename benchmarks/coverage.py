"""How often the interval of a figure contains the true value, in simulated cases.

    python benchmarks/coverage.py

A case is n processes. The figure is that of llmbench/analysis/values.py for the metric's scale. An
asterisk marks coverage below 94 %: there the interval is not called a 95 % interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from noise import NOISES, Draw, Floats, Shape, lognormal, outliers

from llmbench.analysis.stats import geometric_interval, share_interval, t_interval

REPEATS = range(3, 11)
LEAST = 0.94
REQUESTS = 150

# returns the low and high ends of the intervals of simulated cases of n processes
Intervals = Callable[[np.random.Generator, int, int], tuple[Floats, Floats]]


def of_positive(draw: Draw, rng: np.random.Generator, cases: int, n: int) -> tuple[Floats, Floats]:
    """Return the intervals of a positive metric whose geometric mean is 1."""
    return geometric_interval(np.exp(draw(rng, (cases, n))))


def of_zeros(rng: np.random.Generator, cases: int, n: int) -> tuple[Floats, Floats]:
    """Return the intervals of a queue time that is 0 in one process of five and 1 on average."""
    waits = rng.binomial(1, 0.8, (cases, n)) * rng.gamma(4, 1 / 3.2, (cases, n))
    return t_interval(waits)


def of_share(
    share: float, spread: float, rng: np.random.Generator, cases: int, n: int
) -> tuple[Floats, Floats]:
    """Return the intervals of a share of requests whose true value differs between processes."""
    scale = share * (1 - share) / spread**2 - 1 if spread else 0.0
    shape = (cases, n)
    true = rng.beta(share * scale, (1 - share) * scale, shape) if spread else share
    return share_interval(rng.binomial(REQUESTS, true, shape), np.full(shape, REQUESTS))


def correlated(rng: np.random.Generator, shape: Shape) -> Floats:
    """A machine that drifts: 5 %, with a correlation of 0.8 from one process to the next."""
    values = rng.normal(0, 0.05, shape)
    for i in range(1, shape[-1]):
        values[..., i] = 0.8 * values[..., i - 1] + 0.6 * values[..., i]
    return values


def simulations() -> Iterator[tuple[str, float, Intervals]]:
    """Yield the name, the true value and the intervals of every kind of case."""
    for name, draw in NOISES.items():
        yield name, 1.0, partial(of_positive, draw)
    undisturbed = float(np.exp(-0.02))  # of noise.outliers
    yield "the same, value of the undisturbed", undisturbed, partial(of_positive, outliers)
    yield "drift, correlation 0.8", 1.0, partial(of_positive, correlated)
    # the mean of a lognormal distribution is exp(sigma² / 2) times its geometric mean
    yield "lognormal, arithmetic mean", float(np.exp(0.125)), partial(of_positive, lognormal)
    yield "queue time, 0 in one of five", 1.0, of_zeros
    for share, spread in ((0.5, 0.0), (0.95, 0.0), (0.95, 0.03), (0.99, 0.0), (0.99, 0.01)):
        name = f"share {share:.0%} of {REQUESTS} requests, ± {spread:.0%} between processes"
        yield name, share, partial(of_share, share, spread)


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=200_000)
    cases = parser.parse_args().cases
    print("| noise between processes |", " | ".join(map(str, REPEATS)), "|")
    print("|---|", "---|" * len(REPEATS), sep="")
    for name, true, intervals in simulations():
        rng = np.random.default_rng(0)
        row = []
        for n in REPEATS:
            low, high = intervals(rng, cases, n)
            covered = float(np.mean((low <= true) & (true <= high)))
            row.append(f"{covered:.3f}{'' if covered >= LEAST else ' *'}")
        print(f"| {name} |", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
