"""Predicted latencies of held-out loads, and how much of their error is the machine's.

    llmbench run capacity --set repeats=4 --out results/one
    llmbench run capacity --set repeats=4 --set replicas=2 \
        --set 'sweep.load.rate=[36/s,60/s,84/s,108/s]' --out results/two
    python benchmarks/predictions.py results/one results/two

Each load of a folder is left out of the fit of step times, and simulated with the same requests at
the same times. *held out* is the error of that prediction. For *same speed*, the steps of each
simulated run are multiplied by one factor, so that they take as long in total as those of the
measured run: what remains is the error of the model and of slow spells within a process.
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

from llmbench.runs import store
from llmbench.runs.run import Run
from llmbench.simulation import sources, step_times
from llmbench.simulation.simulate import simulate
from llmbench.simulation.step_times import IN_PROCESS, StepModel
from llmbench.simulation.steps import Steps, reconstruct
from llmbench.simulation.validation import Scaled, pooled


def predicted_seconds(model: StepModel, steps: Steps) -> float:
    """Return how long steps take by a model, without noise."""
    decodes, prefills = (steps.where(kind) for kind in kinds(steps))
    decoding = zip(decodes.rows.tolist(), decodes.depth.tolist(), strict=True)
    columns = (prefills.tokens, prefills.context, prefills.prompts)
    prefilling = zip(*(column.tolist() for column in columns), strict=True)
    return sum(model.decode_seconds(*one) for one in decoding) + sum(
        model.prefill_seconds(*one) for one in prefilling
    )


def kinds(steps: Steps) -> tuple[Any, Any]:
    """Return which steps are decode steps, and which prefill steps, alone."""
    return steps.decodes, (steps.prefills > 0) & (steps.rows == 0)


def slowness(model: StepModel, run: Run) -> float:
    """Return the time of a run's steps relative to the model's."""
    steps = reconstruct(run).steps
    measured = sum(float(steps.seconds[kind].sum()) for kind in kinds(steps))
    return measured / predicted_seconds(model, steps)


def predictions(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield each percentile of each load: measured, and the errors of both predictions."""
    runs = [run for run in store.read(folder).runs if not run.failure]
    loads = sources.by_load(runs)
    for label, group in loads.items():
        others = [run for other, of_load in loads.items() if other != label for run in of_load]
        model = step_times.fit(others)
        replicas = sources.replicas_of(group[0].case)
        of_one = model.of(replicas if group[0].case.scenario.replicas else IN_PROCESS)
        factors = [slowness(of_one, run) for run in group]
        measured = pooled([run.records for run in group])
        plain, scaled = (
            pooled(
                [
                    simulate(
                        run.case, Scaled(model, factor), replicas=replicas, repeat=run.repeat
                    ).records
                    for run, factor in zip(group, by_run, strict=True)
                ]
            )
            for by_run in ([1.0] * len(group), factors)
        )
        for metric, (value, _) in measured.items():
            yield {
                "load": label,
                "metric": metric,
                "measured_ms": 1e3 * value,
                "held_out": plain[metric][0] / value - 1,
                "same_speed": scaled[metric][0] / value - 1,
                "slowness": [round(factor, 3) for factor in factors],
            }


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table("load", "metric", "measured ms", "held out", "same speed", "slowness")
    for row in rows:
        errors = (f"{100 * row[name]:+.0f} %" for name in ("held_out", "same_speed"))
        slow = f"{min(row['slowness']):.2f} – {max(row['slowness']):.2f}"
        table.add_row(row["load"], row["metric"], f"{row['measured_ms']:.4g}", *errors, slow)
    console = Console()
    console.print(table)
    for name in ("held_out", "same_speed"):
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
