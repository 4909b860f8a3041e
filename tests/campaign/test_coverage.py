"""Intervals cover the truth if every repeat draws its own load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmbench.analysis.metrics import across, summarize
from llmbench.analysis.stats import geometric_mean
from llmbench.backends.base import BACKENDS
from llmbench.campaign.prepare import prepare
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.testing import open_context, serve

METRICS = ("ttft_p50", "e2e_p50", "output_tokens_per_second")
RUN_SETS, REPEATS = 200, 5


def case() -> Case:
    """A Poisson load on a simulated server that batches eight requests."""
    return Case.of(
        Scenario.model_validate(
            {
                "name": "drawn",
                "model": "random:tiny",
                "workload": {
                    "kind": "synthetic", "prompt_tokens": 8, "output_tokens": {"uniform": [4, 12]}
                },
                "load": {"kind": "poisson", "rate": 8},
                "requests": 100,
                "warmup": 10,
                "backends": [
                    {"kind": "fake", "prefill": 0.01, "per_token": 0.008, "service": "exponential"}
                ],
            }
        ),
        {},
    )  # fmt: skip


def measure(of: Case, repeat: int) -> Run:
    """Serve one repeat on the virtual clock."""
    scenario = Scenario.model_validate(of.spec_of(repeat))
    load = prepare(Case.of(scenario, {}), Path())
    context = open_context(load_shape=load.load_shape, seed=scenario.seed, engine=scenario.engine)
    with BACKENDS.part(scenario.backends[0]).open(context) as server:
        records = serve(server, load.dispatch)
    return Run(of, repeat, "2026-01-01T00:00:00+00:00", records=records_table(records))


def covered(runs: Sequence[Run], truth: dict[str, float]) -> list[bool]:
    estimates = across(list(runs))
    return [
        (estimates[key].low or 0.0) <= truth[key] <= (estimates[key].high or np.inf)
        for key in METRICS
    ]


@pytest.mark.slow
def test_intervals_over_drawn_repeats_cover_the_truth() -> None:
    runs = [measure(case(), repeat) for repeat in range(1, RUN_SETS * REPEATS + 1)]
    summaries = [summarize(run) for run in runs]
    truth = {
        key: float(geometric_mean([s[key].value or np.nan for s in summaries])) for key in METRICS
    }
    sets = [runs[begin : begin + REPEATS] for begin in range(0, len(runs), REPEATS)]
    shares = np.mean([covered(each, truth) for each in sets], axis=0)
    assert dict(zip(METRICS, shares >= 0.93, strict=True)) == dict.fromkeys(METRICS, True), shares
