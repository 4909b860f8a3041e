"""Jumps from event to event: their records are those of the engine on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.campaign.prepare import Prepared, prepare
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation.draws import Noise
from llmbench.simulation.simulate import ServedLoad, jumped, stepped
from llmbench.simulation.step_times import StepModel

LOADS: tuple[dict[str, Any], ...] = (
    {"kind": "constant", "rate": 40},
    {"kind": "poisson", "rate": 20},
    {"kind": "poisson", "rate": 150},
    {"kind": "gamma", "rate": 50, "burstiness": 0.3},
    {"kind": "burst", "size": 7, "every": 0.5},
)
POLICIES = ("round-robin", "least-loaded", "two-choices", "affinity")


class Noisy(StepModel):
    """Step times that vary by up to a half, and lags of up to 20 ms."""

    def __init__(self, *, is_noisy: bool) -> None:
        self.is_noisy = is_noisy

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        return 0.01 + 0.001 * tokens + 0.0001 * context + 0.002 * prompts

    def decode_line(self, rows: int) -> tuple[float, float]:
        return 0.004 + 0.001 * rows, 0.00003

    def noises(self, rng: np.random.Generator, servers: int) -> list[Noise]:
        return [self.noise(own) for own in rng.spawn(servers)]

    def noise(self, rng: np.random.Generator) -> Noise:
        if not self.is_noisy:
            return Noise()
        first, second, third, fourth = rng.spawn(4)
        return Noise(
            lambda count: first.uniform(0.5, 1.5, count),
            lambda count: second.uniform(0.5, 1.5, count),
            lambda count: third.uniform(0.0, 0.02, count),
            lambda count: fourth.uniform(1.0, 2.0, count),
        )


def load_of(seed: int) -> tuple[Prepared, int]:
    """A random load, and the number of replicas that serve it."""
    rng = np.random.default_rng(seed)
    outputs = int(rng.choice([1, 3, 30, 200]))
    spec = {
        "name": "jumps",
        "seed": seed,
        "model": "random:tiny",
        "workload": {
            "kind": "synthetic",
            "prompt_tokens": {"uniform": [1, int(rng.choice([4, 40]))]},
            "output_tokens": {"uniform": [1, outputs]},
        },
        "load": LOADS[rng.integers(len(LOADS))],
        "requests": int(rng.integers(1, 80)),
        "warmup": int(rng.integers(10)),
        "backends": ["eager"],
        "engine": {
            "slots": int(rng.integers(1, 6)),
            "prefill_tokens": int(rng.choice([1, 20, 64])),
        },
    }
    if rng.random() < 0.3:
        spec["duration"] = 0.4
    if rng.random() < 0.8:
        spec["replicas"] = {"count": 2, "balance": POLICIES[rng.integers(len(POLICIES))]}
    case = Case.of(Scenario.model_validate(spec), {})
    return prepare(case, Path()), int(rng.integers(1, 6))


def both(load: Prepared, model: StepModel, replicas: int) -> tuple[ServedLoad, ServedLoad]:
    fast = jumped(load, model, replicas)
    assert fast is not None
    return fast, stepped(load, model, replicas)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("is_noisy", [False, True], ids=["exact", "noisy"])
def test_records_of_jumps_equal_those_of_the_engine(seed: int, *, is_noisy: bool) -> None:
    load, replicas = load_of(seed)
    fast, slow = both(load, Noisy(is_noisy=is_noisy), replicas)
    assert fast.records.schema == slow.records.schema
    differing = [
        name for name in slow.records.column_names if fast.records[name] != slow.records[name]
    ]
    assert differing == []
    assert fast.facts == slow.facts
