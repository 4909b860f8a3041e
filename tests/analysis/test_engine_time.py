"""The shares of an engine's time, from what a backend reported of its steps."""

from __future__ import annotations

from typing import Any

from llmbench.analysis.engine_time import KEYS, engine_time
from llmbench.analysis.values import Value

COUNTS = {"prefill": 2, "decode": 4, "idle": 1}


def metrics(decoded: int = 10, **seconds: float) -> dict[str, Value]:
    steps: dict[str, Any] = {"seconds": seconds, "counts": COUNTS, "decoded_sequences": decoded}
    return engine_time({"engine_steps": steps})


def test_shares_are_of_the_whole_time_and_the_batch_of_the_decode_steps() -> None:
    assert metrics(prefill=1.0, decode=2.5, idle=0.5) == {
        "engine_prefill_share": Value(0.25, 2),
        "engine_decode_share": Value(0.625, 4),
        "engine_idle_share": Value(0.125, 1),
        "engine_batch_mean": Value(2.5, 4),
    }


def test_a_load_without_time_has_no_shares() -> None:
    values = metrics(prefill=0.0, decode=0.0, idle=0.0)
    assert {value.reason for value in values.values()} == {"the load took no time"}


def test_a_backend_without_an_engine_has_no_shares() -> None:
    for report in ({}, {"engine_steps": None}):
        values = engine_time(report)
        assert list(values) == list(KEYS)
        assert values["engine_idle_share"].reason == (
            "the backend does not report the steps of its engine"
        )
