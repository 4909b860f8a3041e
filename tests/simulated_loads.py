"""Queues with exact service times in place of engines, for tests of capacity answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import repeat_seed
from llmbench.scenario.schema import Scenario
from llmbench.simulation.step_times import StepModel

BEGAN = "2026-01-01T00:00:00+00:00"
SPEC: dict[str, Any] = {
    "name": "queue",
    "model": "random:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 2},
    "load": {"kind": "constant", "rate": 4.0},
    "requests": 100,
    "backends": [{"kind": "fake"}],
    "collect": [],
    "slo": {"ttft_p99": 0.5},
}


@dataclass(frozen=True)
class Service(StepModel):
    """A model whose prefill takes ``seconds``, and whose decode steps take no time."""

    seconds: float = 0.25

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        del tokens, context, prompts
        return self.seconds

    def decode_line(self, rows: int) -> tuple[float, float]:
        del rows
        return 0.0, 0.0


def scenario(rate: float = 4.0, **more: Any) -> Scenario:
    spec = {**SPEC, "load": {**SPEC["load"], "rate": rate}, **more}
    return Scenario.model_validate(spec)


def case(rate: float = 4.0, **more: Any) -> Case:
    return Case.of(scenario(rate, **more), {"load.rate": rate})


def queued(asked: Case, model: StepModel, replicas: int, repeat: int) -> Run:
    """Serve requests at a constant rate, each replica one at a time and in turn.

    The first arrival is up to one gap late, by the seed of the repeat.
    """
    rate, number = asked.scenario.load.rate, asked.scenario.requests or 0
    late = np.random.default_rng(repeat_seed(asked.scenario.seed, repeat)).random() / rate
    return run_of(
        asked, repeat, np.arange(number) / rate + late, model.prefill_seconds(4), replicas
    )


def run_of(
    asked: Case, repeat: int, due: Sequence[float] | Any, seconds: float, replicas: int = 1
) -> Run:
    """Return a run of a queue for each replica, with equal service times."""
    free, records = [0.0] * replicas, []
    for index, moment in enumerate(map(float, due)):
        replica = index % replicas
        started = max(moment, free[replica])
        free[replica] = started + seconds
        records.append(
            Record(
                index, "measured", moment, moment, started, (free[replica], free[replica]), (1, 1),
                4, 2, "length", replica=replica,
            )
        )  # fmt: skip
    return Run(asked, repeat, BEGAN, records_table(records))
