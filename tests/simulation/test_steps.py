"""Steps that are read off records."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from known_steps import Known, case, measured

from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.simulation.steps import Steps, reconstruct


def steps_of(run: Run) -> Steps:
    """The steps of all engines of a run."""
    return Steps.joined([engine.steps for engine in reconstruct(run)])


def expected(steps: Steps, model: Known) -> np.ndarray:
    """The times that a model gives to steps, each a prefill or a decode step or one of both."""
    chunks = zip(
        steps.prefills.tolist(), steps.tokens.tolist(), steps.context.tolist(),
        steps.prompts.tolist(), steps.rows.tolist(), steps.depth.tolist(), strict=True,
    )  # fmt: skip
    return np.array([
        (model.prefill_seconds(tokens, context, prompts) if prefills else 0.0)
        + (model.decode_seconds(rows, depth) if rows else 0.0)
        for prefills, tokens, context, prompts, rows, depth in chunks
    ])  # fmt: skip


@pytest.mark.parametrize("rate", [5, 20, 100])
def test_steps_have_the_times_that_they_were_simulated_with(rate: int) -> None:
    steps = steps_of(measured(case(load={"kind": "poisson", "rate": rate}), Known()))
    one_prompt = steps.prompts <= 1  # the pairs of several depend on how tokens are divided
    np.testing.assert_allclose(
        steps.seconds[one_prompt], expected(steps.where(one_prompt), Known()), rtol=1e-9
    )


def test_steps_of_replicas_are_apart() -> None:
    run = measured(case(replicas=2, load={"kind": "poisson", "rate": 60}), Known(), replicas=3)
    steps = steps_of(run)
    one_prompt = steps.prompts <= 1
    np.testing.assert_allclose(
        steps.seconds[one_prompt], expected(steps.where(one_prompt), Known()), rtol=1e-9
    )


def test_every_token_is_one_of_a_step() -> None:
    run = measured(case(), Known())
    steps = steps_of(run)
    assert steps.prompts.sum() + steps.rows.sum() == sum(run.records["output_tokens"].to_pylist())
    assert steps.tokens.sum() == sum(run.records["prompt_tokens"].to_pylist())


def test_chunks_of_a_split_prompt_are_assigned_to_the_steps_that_they_ran_in() -> None:
    engine = {"slots": 4, "prefill_tokens": 1, "prefill_chunk": 20}
    run = measured(case(engine=engine), Known())
    steps = steps_of(run)
    assert steps.tokens.sum() == sum(run.records["prompt_tokens"].to_pylist())
    whole = steps.prefills <= 1
    assert (whole & (steps.prefills == 1) & (steps.rows > 0)).any()
    np.testing.assert_allclose(
        steps.seconds[whole], expected(steps.where(whole), Known()), rtol=1e-9
    )


def test_lags_are_those_of_requests_that_found_the_engine_idle() -> None:
    run = measured(case(load={"kind": "constant", "rate": 2}), Known(lag=0.002))
    (engine,) = reconstruct(run)
    lags = engine.lags
    assert lags[0] == 0  # due when the clock starts
    np.testing.assert_allclose(lags[1:], np.full(199, 0.002), rtol=1e-6)


def with_column(run: Run, name: str, values: Any) -> Run:
    index = run.records.column_names.index(name)
    column = pa.array(values, run.records.schema.field(name).type)
    return replace(run, records=run.records.set_column(index, name, column))


def test_runs_without_records_are_refused() -> None:
    run = measured(case(), Known())
    with pytest.raises(InputError, match="no records"):
        reconstruct(replace(run, records=run.records.slice(0, 0)))


def test_runs_of_an_endpoint_are_refused() -> None:
    with pytest.raises(InputError, match="do not show a server's steps"):
        reconstruct(replace(measured(case(), Known()), backend_report={}))


def test_steps_of_several_tokens_are_refused() -> None:
    run = measured(case(), Known())
    counts = [[2] * len(times) for times in run.records["token_times"].to_pylist()]
    with pytest.raises(InputError, match="speculative"):
        reconstruct(with_column(run, "token_counts", counts))


def test_preempted_requests_are_refused() -> None:
    run = measured(case(), Known())
    with pytest.raises(InputError, match="preempted"):
        reconstruct(with_column(run, "preemptions", [1] * len(run.records)))
