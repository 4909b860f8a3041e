"""Runs that look measured: simulated from known step times, with what a local backend reports."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation.draws import Noise
from llmbench.simulation.simulate import simulate
from llmbench.simulation.step_times import StepModel

REPORT = {"engine_steps": {}, "effective": {"prefill_tokens": 64}}


class Known(StepModel):
    """Step times of a known form; ``spread`` is the relative deviation of their factors."""

    def __init__(self, spread: float = 0.0, lag: float = 0.0) -> None:
        self.spread = spread
        self.lag = lag

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        return 0.004 + 0.0005 * prompts + 0.0001 * tokens + 2e-7 * tokens * (context + tokens / 2)

    def decode_line(self, rows: int) -> tuple[float, float]:
        return 0.003 + 0.0004 * rows, 1e-6

    def noises(self, rng: np.random.Generator, servers: int) -> list[Noise]:
        return [self.noise(own) for own in rng.spawn(servers)]

    def noise(self, rng: np.random.Generator) -> Noise:
        def factors(count: int) -> Any:
            return 1 + self.spread * rng.uniform(-1, 1, count)

        return Noise(factors, factors, lambda count: np.full(count, self.lag))


def case(**keys: Any) -> Case:
    spec = {
        "name": "measured",
        "model": "random:tiny",
        "workload": {
            "kind": "synthetic",
            "prompt_tokens": {"uniform": [8, 64]},
            "output_tokens": {"uniform": [2, 32]},
        },
        "load": {"kind": "poisson", "rate": 20},
        "requests": 200,
        "backends": ["eager"],
        "engine": {"slots": 8, "prefill_tokens": 64},
        **keys,
    }
    return Case.of(Scenario.model_validate(spec), {})


def measured(case: Case, model: StepModel, replicas: int = 1, repeat: int = 1) -> Run:
    """Return a run of a case with the steps of a model, as if it had been measured."""
    run = simulate(case, model, replicas=replicas, repeat=repeat)
    return replace(run, backend_report=REPORT, facts={}, caveats=())
