"""Which steps are profiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from llmbench.campaign.profile.phases import Decode, Phase, implied_rows, phases_of
from llmbench.errors import InputError
from llmbench.runs.request import Request
from llmbench.scenario.schema import Scenario


class Runner:
    """Records its calls; a decode gives each row the same number of tokens."""

    def __init__(self, chunk: int = 1) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.chunk = chunk

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.calls.append(("prefill", (slot, len(prompt))))
        return 5

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.calls.append(("decode", list(slots)))
        return [[5] * self.chunk for _ in slots]


def request(prompt: int, answer: int) -> Request:
    return Request(0, (1,) * prompt, answer)


def made(phase: Phase, count: int) -> int:
    """Make steps and count their tokens."""
    tokens = 0
    for _ in range(count):
        phase.ready()
        tokens += phase.count(phase.step())
    return tokens


def test_a_prefill_is_of_the_request_nearest_to_the_medians() -> None:
    runner = Runner()
    prefill, _ = phases_of(runner, [request(n, 8) for n in (2, 9, 4, 100, 3)], rows=1)
    assert made(prefill, 2) == 2
    assert runner.calls == [("prefill", (0, 4))] * 2
    assert prefill.prompt_tokens == prefill.cache_tokens == (4, 4)


def test_a_decode_has_one_row_per_typical_request() -> None:
    runner = Runner()
    _, decode = phases_of(runner, [request(n, 8) for n in (2, 9, 4, 100, 3)], rows=3)
    assert (decode.rows, decode.prompt_tokens) == (3, (2, 4))
    assert made(decode, 2) == 6
    assert runner.calls[:4] == [
        ("prefill", (0, 4)), ("prefill", (1, 3)), ("prefill", (2, 2)), ("decode", [0, 1, 2]),
    ]  # fmt: skip


def test_few_requests_fill_many_rows() -> None:
    _, decode = phases_of(Runner(), [request(3, 8), request(4, 8)], rows=5)
    assert decode.rows == 5


def test_rows_restart_once_one_has_its_answer() -> None:
    runner = Runner()
    decode = Decode(runner, [request(6, 3), request(7, 9)])
    seen = []
    for _ in range(3):
        made(decode, 1)
        seen.append(decode.cache_tokens)
    assert seen == [(7, 8), (8, 9), (7, 8)]
    assert [kind for kind, _ in runner.calls] == [
        "prefill", "prefill", "decode", "decode", "prefill", "prefill", "decode",
    ]  # fmt: skip


def test_chunks_of_several_tokens_are_counted_in_full() -> None:
    decode = Decode(Runner(chunk=3), [request(6, 20), request(6, 20)])
    assert made(decode, 2) == 12
    assert decode.cache_tokens == (12, 12)


def test_answers_of_one_token_have_no_decode() -> None:
    (only,) = phases_of(Runner(), [request(3, 1)], rows=2)
    assert only.name == "prefill"


def scenario(**changes: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "rows",
            "model": "random:tiny",
            "workload": {"kind": "synthetic"},
            "load": {"kind": "poisson", "rate": 1},
            "backends": ["fake"],
            "requests": 1,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "requested", "rows"),
    [
        ({}, None, 8),
        ({"engine": {"slots": 3}}, None, 3),
        ({"load": {"kind": "closed", "concurrency": 2}}, None, 2),
        ({"load": {"kind": "closed", "concurrency": 20}}, None, 8),
        ({"max_in_flight": 5}, None, 5),
        ({"max_in_flight": 5}, 7, 7),
    ],
)
def test_rows_are_the_most_that_slots_and_load_allow(
    changes: dict[str, Any], requested: int | None, rows: int
) -> None:
    assert implied_rows(scenario(**changes), requested) == rows


@pytest.mark.parametrize("requested", [0, 9])
def test_more_rows_than_slots_are_refused(requested: int) -> None:
    with pytest.raises(InputError, match=f"--rows {requested}: expected 1 to 8"):
        implied_rows(scenario(), requested)
