"""Simulated runs: the times of the engine and of replicas on a virtual clock."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.analysis.metrics import summarize
from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation.simulate import simulate
from llmbench.simulation.step_times import StepModel


class Steps(StepModel):
    """A prefill step takes 1/4 s, a decode step 1/8 s."""

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        del tokens, context, prompts
        return 0.25

    def decode_line(self, rows: int) -> tuple[float, float]:
        del rows
        return 0.125, 0.0


def case(**keys: Any) -> Case:
    spec = {
        "name": "simulated",
        "model": "random:tiny",
        "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 3},
        "load": {"kind": "constant", "rate": 1},
        "requests": 4,
        "backends": ["fake"],
        **keys,
    }
    return Case.of(Scenario.model_validate(spec), {})


def times(run: Run) -> list[tuple[float, ...]]:
    return [tuple(stamps) for stamps in run.records["token_times"].to_pylist()]


def test_steps_of_a_simulated_run_take_the_times_of_the_model() -> None:
    run = simulate(case(), Steps(), replicas=1)
    assert times(run) == [(n + 0.25, n + 0.375, n + 0.5) for n in range(4)]


def test_metrics_are_computed_from_a_simulated_run() -> None:
    values = summarize(simulate(case(), Steps(), replicas=1))
    assert (values["ttft_p50"].value, values["e2e_p50"].value) == (0.25, 0.5)


def test_a_simulated_run_says_so() -> None:
    run = simulate(case(), Steps(), replicas=3)
    assert run.is_simulated
    assert run.facts["simulated"] == {"replicas": 3}
    assert [caveat.kind for caveat in run.caveats] == ["simulated"]


def test_replicas_serve_at_the_same_time() -> None:
    load = {"kind": "constant", "rate": 8}
    run = simulate(case(load=load, engine={"slots": 1}), Steps(), replicas=2)
    assert run.records["replica"].to_pylist() == [0, 1, 0, 1]
    assert run.records["started"].to_pylist() == [0.0, 0.125, 0.5, 0.625]


def test_a_closed_loop_sends_when_an_answer_is_complete() -> None:
    run = simulate(case(load={"kind": "closed", "concurrency": 2}), Steps(), replicas=2)
    assert run.records["due"].to_pylist() == [0.0, 0.0, 0.5, 0.5]


def test_an_endpoint_is_refused() -> None:
    endpoint = {"kind": "endpoint", "url": "http://localhost:1/v1"}
    with pytest.raises(InputError, match="simulate a local backend"):
        simulate(case(backends=[endpoint], model="m"), Steps(), replicas=1)


def test_answers_that_end_by_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="stop_at_eos"):
        simulate(case(stop_at_eos=True), Steps(), replicas=1)


def test_the_load_generator_of_mlperf_is_refused() -> None:
    load = {"kind": "mlperf", "scenario": "single-stream"}
    with pytest.raises(InputError, match="real clock"):
        simulate(case(load=load), Steps(), replicas=1)


def test_loads_of_one_workload_have_the_same_requests() -> None:
    workload = {"kind": "synthetic", "prompt_tokens": {"uniform": [1, 99]}, "output_tokens": 2}
    slow = simulate(case(workload=workload, requests=9), Steps(), replicas=1)
    fast = simulate(
        case(workload=workload, load={"kind": "constant", "rate": 9}), Steps(), replicas=2
    )
    lengths = slow.records["prompt_tokens"].to_pylist()
    assert fast.records["prompt_tokens"].to_pylist() == lengths[:4]
    assert len(set(lengths)) > 1


def test_prompts_keep_their_tokens_where_prefixes_are_reused() -> None:
    workload = {"kind": "synthetic", "prompt_tokens": 8, "shared_prefix": 0.5, "output_tokens": 2}
    engine = {"slots": 2, "prefix_cache": True}
    records = simulate(case(workload=workload, engine=engine), Steps(), replicas=1).records
    assert records["cached_tokens"].to_pylist() == [0, 4, 4, 4]
