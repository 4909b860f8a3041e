"""Predicted latencies of held-out loads, and how much of their error is the machine's.

    llmbench run capacity --set repeats=12 --out results/one
    llmbench run capacity --set repeats=12 --set replicas=2 \
        --set 'sweep.load.rate=[36/s,60/s,82/s,102/s]' --out results/two
    python benchmarks/predictions.py results/one results/two

Each load of a folder is left out of the fit of step times, and simulated with the same requests at
the same times. Percentiles are geometric means over processes. *held out* is the error of that
prediction. For *same variation*, step k of each simulated engine deviates from that fit as step k
of the measured one did: what remains is the error of the simulation. *interval* is the 95 %
interval of what was measured over the processes of a load (Student's t, of logarithms), relative to
it: the machine's share of the error.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from llmbench.analysis.stats import geometric_interval
from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.simulation import sources, step_times
from llmbench.simulation.draws import Draw, Floats, Noise
from llmbench.simulation.simulate import simulate
from llmbench.simulation.step_times import StepModel, StepTimes, fitted_replicas
from llmbench.simulation.steps import reconstruct
from llmbench.simulation.validation import Scaled, predicted, typical


def variations(model: StepTimes, run: Run) -> Iterator[Noise]:
    """Yield how the steps of each engine of a run differed from a model."""
    for engine in reconstruct(run):
        yield Noise(*map(in_order, model.variation(engine)))


def in_order(values: Floats) -> Draw | None:
    """Return a stream of values in their order, again and again; None without any."""
    taken = 0

    def draw(count: int) -> Floats:
        nonlocal taken
        taken += count
        return values.take(range(taken - count, taken), mode="wrap")

    return draw if len(values) else None


def predictions(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield each percentile of each load: measured, and the errors of both predictions."""
    loads = sources.by_load([run for run in store.read(folder).runs if not run.failure])
    for label, group in loads.items():
        others = [run for other, of_load in loads.items() if other != label for run in of_load]
        fit = step_times.fit(others)
        measured = typical([run.records for run in group])
        held_out = predicted(group, fit, again)
        same_variation = typical([replayed(run, fit).records for run in group])
        processes = [typical([run.records]) for run in group]
        for metric, (value, _) in measured.items():
            low, high = geometric_interval([process[metric][0] for process in processes])
            yield {
                "load": label,
                "metric": metric,
                "measured_ms": 1e3 * value,
                "interval": [float(low) / value - 1, float(high) / value - 1],
                "held_out": held_out[metric][0] / value - 1,
                "same_variation": same_variation[metric][0] / value - 1,
            }


def again(case: Case, model: StepModel, replicas: int, repeat: int) -> Run:
    """Simulate a repeat of a case."""
    return simulate(case, model, replicas=replicas, repeat=repeat)


def replayed(run: Run, fit: StepTimes) -> Run:
    """Simulate a run with its measured variation."""
    model = fit.of(fitted_replicas(run.case))
    drawn = Scaled(model, drawn=variations(model, run))
    return again(run.case, drawn, sources.replicas_of(run.case), run.repeat)


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("load", "metric", "measured ms", "interval", "held out", "same variation")
    for row in rows:
        low, high = row["interval"]
        errors = (f"{100 * row[name]:+.0f} %" for name in ("held_out", "same_variation"))
        interval = f"{100 * low:+.0f} to {100 * high:+.0f} %"
        table.add_row(row["load"], row["metric"], f"{row['measured_ms']:.4g}", interval, *errors)
    console = Console()
    console.print(table)
    for name in ("held_out", "same_variation"):
        sizes = [100 * abs(row[name]) for row in rows]
        console.print(f"{name}: median {statistics.median(sizes):.0f} %, most {max(sizes):.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="results of several loads")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = [row for folder in arguments.folders for row in predictions(folder)]
    if arguments.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)


if __name__ == "__main__":
    main()
