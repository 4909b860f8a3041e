"""Requests with the lengths of a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.loads.stopping import Stop
from llmbench.loads.trace import Trace as TraceLoad
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.prompts import Prompts
from llmbench.workloads.trace import Trace

ROWS: list[dict[str, Any]] = [
    {"time": 10.0, "prompt_tokens": 6, "output_tokens": 3, "blocks": [1, 2]},
    {"time": 11.0, "prompt_tokens": 7, "output_tokens": 30, "blocks": [1, 3]},
    {"time": 14.0, "prompt_tokens": 20, "output_tokens": 5},
]


@pytest.fixture
def trace(tmp_path: Path) -> Any:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))

    def make(**options: Any) -> Trace:
        return Trace(Trace.Options.model_validate({"path": path, "block_tokens": 4, **options}))

    return make


def requests(trace: Trace, seed: int = 0) -> list[Request]:
    return list(trace.requests(ByteTokenizer(1000), seed))


def lengths(trace: Trace) -> list[tuple[int, int]]:
    return [(len(request.prompt), request.max_new_tokens) for request in requests(trace)]


def test_lengths_are_those_of_the_file(trace: Any) -> None:
    assert lengths(trace()) == [(6, 3), (7, 30), (20, 5)]


def test_equal_blocks_are_equal_tokens_and_the_rest_differs(trace: Any) -> None:
    first, second, _ = requests(trace())
    assert first.prompt[:4] == second.prompt[:4]
    assert first.prompt[4:6] != second.prompt[4:6]


def test_equal_seeds_give_equal_requests(trace: Any) -> None:
    assert requests(trace()) == requests(trace())
    assert requests(trace()) != requests(trace(), seed=1)


def test_long_prompts_and_answers_can_be_truncated(trace: Any) -> None:
    cut = trace(max_prompt_tokens=6, max_output_tokens=4)
    assert lengths(cut) == [(6, 3), (6, 4), (6, 4)]


def test_a_slice_counts_from_the_first_request_and_excludes_its_end(trace: Any) -> None:
    assert lengths(trace(begin="1 s", end="4 s")) == [(7, 30)]


def test_blocks_have_the_length_of_their_format(tmp_path: Path) -> None:
    path = tmp_path / "bailian.jsonl"
    fields = {"timestamp": 0, "input_length": 40, "output_length": 1, "chat_id": 1, "turn": 1}
    lines = [{**fields, "hash_ids": [1, 2, index]} for index in (7, 8)]
    path.write_text("\n".join(map(json.dumps, lines)))
    first, second = requests(Trace(Trace.Options(path=path)))
    assert (len(first.prompt), first.shared) == (40, 40)
    assert first.prompt[:32] == second.prompt[:32]
    assert first.prompt[32:] != second.prompt[32:]


def test_rows_that_are_left_out_are_a_caveat(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, [*ROWS, {**ROWS[0], "output_tokens": 0}])))
    (caveat,) = Trace(Trace.Options(path=path)).caveats()
    assert caveat.message == "1 of 4 rows of trace.jsonl were left out: 1 with 0 output tokens."
    load = TraceLoad(TraceLoad.Options(path=path)).following(Prompts(Prompts.Options()))
    assert load.caveats() == (caveat,)


def test_columns_exclude_a_format(trace: Any) -> None:
    columns = {"arrival": "a", "prompt_tokens": "p", "output_tokens": "o"}
    with pytest.raises(ValueError, match="remove `format`"):
        trace(columns=columns, format="azure")


def test_an_empty_slice_is_an_error_with_the_length_of_the_trace(trace: Any) -> None:
    with pytest.raises(InputError, match="lasts 4 s"):
        trace(begin=60).check()


def test_a_slice_cannot_end_before_it_begins(trace: Any) -> None:
    with pytest.raises(ValueError, match="expected `end` after `begin`"):
        trace(begin=2, end=1)


# -- its load --------------------------------------------------------------------------------------


def offsets(trace: Trace, stop: Stop, speed: float = 1.0) -> list[float]:
    load = TraceLoad(TraceLoad.Options(speed=speed)).following(trace)
    return list(load.arrivals(stop, stream(0, "arrivals")).at_start())


def test_requests_are_due_at_the_recorded_times(trace: Any) -> None:
    assert offsets(trace(), Stop(requests=3)) == [0.0, 1.0, 4.0]


def test_a_slice_starts_at_once(trace: Any) -> None:
    assert offsets(trace(begin=1), Stop(requests=2)) == [0.0, 3.0]


def test_time_can_be_scaled(trace: Any) -> None:
    assert offsets(trace(), Stop(requests=3), speed=2) == [0.0, 0.5, 2.0]


def test_a_duration_ends_a_trace(trace: Any) -> None:
    assert offsets(trace(), Stop(duration=4)) == [0.0, 1.0]
    assert offsets(trace(), Stop(warmup=1, duration=4)) == [0.0, 1.0, 4.0]


def test_more_requests_than_the_trace_has_are_rejected(trace: Any) -> None:
    with pytest.raises(InputError, match="the trace has 3"):
        offsets(trace(), Stop(warmup=1, requests=3))


def test_a_workload_without_times_is_rejected() -> None:
    with pytest.raises(InputError, match="a workload with arrival times"):
        TraceLoad(TraceLoad.Options()).following(Prompts(Prompts.Options()))


def test_lengths_are_known_before_prompts_are_made(trace: Any) -> None:
    assert list(trace(max_output_tokens=9).sequence_lengths(0)) == [9, 16, 25]
