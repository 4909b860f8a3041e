"""What servers say about single responses, in the fields of each server, and whether it can be."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.openai_types import read_chunk
from llmbench.backends.endpoint.server_facts import MAX_ID, MAX_SECONDS, ServerFacts


def facts_of(*chunks: dict[str, Any], output_tokens: int = 8) -> dict[str, Any]:
    """Return the facts that chunks of one response report, without those that are unknown."""
    facts = ServerFacts()
    for chunk in chunks:
        facts.add(read_chunk(msgspec.json.encode({"choices": [], **chunk})))
    return {k: v for k, v in facts.possible(output_tokens).items() if v is not None}


def test_openais_details_of_the_output_are_read() -> None:
    details = {
        "reasoning_tokens": 5, "accepted_prediction_tokens": 2, "rejected_prediction_tokens": 1,
    }  # fmt: skip
    assert facts_of({"usage": {"completion_tokens_details": details}}) == {
        "reasoning_tokens": 5, "drafted_tokens": 3, "accepted_tokens": 2,
    }  # fmt: skip


def test_sglangs_reasoning_tokens_are_in_its_usage() -> None:
    assert facts_of({"usage": {"reasoning_tokens": 0}}) == {"reasoning_tokens": 0}


def test_vllms_times_are_in_its_metrics_in_milliseconds() -> None:
    metrics = {"queue_time_ms": 12.5, "time_to_first_token_ms": 85, "tokens_per_second": 103.2}
    assert facts_of({"metrics": metrics}) == {
        "server_queue_seconds": 0.0125, "server_ttft_seconds": 0.085,
    }  # fmt: skip


def test_llama_cpps_times_and_drafts_are_in_its_timings() -> None:
    timings = {"prompt_ms": 43.0, "predicted_ms": 238.0, "draft_n": 6, "draft_n_accepted": 4}
    assert facts_of({"timings": timings}) == {
        "server_prefill_seconds": 0.043, "server_decode_seconds": 0.238,
        "drafted_tokens": 6, "accepted_tokens": 4,
    }  # fmt: skip


def test_the_id_is_that_of_the_first_chunk_that_has_one() -> None:
    assert facts_of({"id": None}, {"id": "cmpl-1"}, {"id": "cmpl-2"}) == {"response_id": "cmpl-1"}


def test_a_long_id_is_cut() -> None:
    assert len(facts_of({"id": "x" * 1000})["response_id"]) == MAX_ID


def test_what_a_later_chunk_reports_replaces_what_earlier_ones_did() -> None:
    usages = ({"usage": {"reasoning_tokens": count}} for count in (1, 4))
    assert facts_of(*usages, {"usage": {"total_tokens": 9}}) == {"reasoning_tokens": 4}


@pytest.mark.parametrize(
    "chunk",
    [
        {"usage": {"reasoning_tokens": 9}},
        {"timings": {"draft_n": 2, "draft_n_accepted": 3}},
        {"timings": {"draft_n_accepted": 3}},
        {"metrics": {"queue_time_ms": -1}},
        {"metrics": {"queue_time_ms": "soon"}},
        {"metrics": {"queue_time_ms": True}},
        {"metrics": [1]},
        {"usage": {"completion_tokens_details": 3}},
        {"id": 7},
    ],
)
def test_what_cannot_be_true_is_unknown(chunk: dict[str, Any]) -> None:
    assert facts_of(chunk) == {}


@given(st.dictionaries(st.sampled_from(["queue_time_ms", "time_to_first_token_ms"]), st.floats()))
def test_a_time_is_unknown_or_within_bounds(metrics: dict[str, float]) -> None:
    facts = ServerFacts()
    chunk = read_chunk(b'{"choices": []}')
    chunk.metrics = metrics
    facts.add(chunk)
    for seconds in (facts.server_queue_seconds, facts.server_ttft_seconds):
        assert seconds is None or 0 <= seconds <= MAX_SECONDS
