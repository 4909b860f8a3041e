"""Jobs of agents, generated and from files, as requests."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmbench.errors import InputError
from llmbench.loads.stopping import Stop
from llmbench.loads.trace import Trace as TraceLoad
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.agents import Agents, generated


def workload(**options: Any) -> Agents:
    return Agents(Agents.Options.model_validate(options))


def draw(count: int, seed: int = 0, **options: Any) -> list[Request]:
    return list(islice(workload(**options).requests(ByteTokenizer(256), seed), count))


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def row(session: str, **fields: Any) -> dict[str, Any]:
    return {"session_id": session, "input_length": 8, "output_length": 4, **fields}


def test_a_job_is_a_loop_of_turns_by_default() -> None:
    (request,) = draw(1)
    assert [turn.parents for turn in request.turns] == [(0,), (1,), (2,)]
    assert list(request.lengths()) == [(128, 32), (224, 32), (320, 32), (416, 32)]
    assert request.parents == ()


def test_at_a_fan_out_subagents_run_in_parallel_and_the_agent_waits_for_all() -> None:
    (request,) = draw(1, turns=2, fan_out=3, fan_out_share=1, system_tokens=10)
    assert [turn.parents for turn in request.turns] == [(0,), (0,), (0,), (0, 1, 2, 3)]
    assert [turn.is_fresh for turn in request.turns] == [True, True, True, False]
    assert [prompt for prompt, _ in request.lengths()] == [138, 138, 138, 138, 234]


def test_subagents_share_a_system_prompt_of_their_own() -> None:
    first, second = draw(2, turns=2, fan_out=2, fan_out_share=1, system_tokens=16)
    subagents = [turn.prompt for job in (first, second) for turn in job.turns[:2]]
    assert len({prompt[:16] for prompt in subagents}) == 1
    assert len({prompt[16:] for prompt in subagents}) == 4
    assert first.prompt[:16] == second.prompt[:16] != subagents[0][:16]


def test_the_share_of_fan_outs_is_that_of_the_turns_after_the_first() -> None:
    jobs = draw(400, turns=5, fan_out=2, fan_out_share=0.25)
    joins = [len(turn.parents or ()) > 1 for job in jobs for turn in job.turns if not turn.is_fresh]
    assert sum(joins) / len(joins) == pytest.approx(0.25, abs=0.05)


def test_delays_are_exponential_with_the_given_mean_and_the_first_request_has_none() -> None:
    jobs = draw(1000, turns=3, tool_delay="3 s")
    delays = [turn.think_seconds for job in jobs for turn in job.turns]
    assert sum(delays) / len(delays) == pytest.approx(3.0, rel=0.1)
    assert {job.think_seconds for job in jobs} == {0.0}


def test_other_delays_do_not_change_the_prompts() -> None:
    def prompts(**options: Any) -> list[Any]:
        return [(job.prompt, [t.prompt for t in job.turns]) for job in draw(5, **options)]

    assert prompts(tool_delay=1) == prompts()


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 5), st.integers(1, 6))
def test_generated_jobs_are_graphs_of_the_expected_shape(
    seed: int, share: float, width: int, turns: int
) -> None:
    options = Agents.Options.model_validate(
        {"fan_out": {"uniform": [1, width]}, "fan_out_share": share, "turns": turns}
    )
    jobs = list(islice(generated(options, seed), 3))
    assert jobs == list(islice(generated(options, seed), 3))
    for job in jobs:
        assert sum(not step.is_fresh for step in job.steps) == turns - 1
        for number, step in enumerate(job.steps):
            assert all(parent < number for parent in step.parents)


def test_prompts_of_blocks_are_exactly_the_recorded_blocks(tmp_path: Path) -> None:
    rows = [
        row("a", input_length=6, hash_ids=[1, 2]),
        row("a", input_length=10, hash_ids=[1, 2, 3]),
        row("b", input_length=5, hash_ids=[1, 4]),
    ]
    first, second = draw(9, path=written(tmp_path, *rows), block_tokens=4)
    (later,) = first.turns
    assert len(later.prompt) == 10
    assert later.prompt[:6] == first.prompt
    assert second.prompt[:4] == first.prompt[:4]
    assert second.prompt[4:] != first.prompt[4:5]
    assert first.shared == 6


def test_a_prompt_longer_than_its_blocks_goes_on_at_random(tmp_path: Path) -> None:
    path = written(tmp_path, row("a", hash_ids=[1]), row("b", hash_ids=[1]))
    first, second = draw(2, path=path, block_tokens=4)
    assert first.prompt[:4] == second.prompt[:4]
    assert (len(first.prompt), first.prompt[4:] == second.prompt[4:]) == (8, False)


def test_recorded_delays_can_be_scaled(tmp_path: Path) -> None:
    path = written(tmp_path, row("a"), row("a", delay=3000))
    (request,) = draw(1, path=path, delay_scale=0.5)
    assert [turn.think_seconds for turn in request.turns] == [1.5]


def test_recorded_messages_are_sent_as_they_are(tmp_path: Path) -> None:
    said = [("system", "S"), ("user", "U"), ("assistant", "A"), ("tool", "T"), ("assistant", "BB")]
    chat = {"messages": [{"role": role, "content": content} for role, content in said]}
    (request,) = draw(1, path=written(tmp_path, chat))
    (later,) = request.turns
    assert [(message.role, message.content) for message in later.messages] == said[:4]
    assert [output for _, output in request.lengths()] == [1, 2]
    assert request.fresh_turn(1).whole_text == "S\n\nUAT\n\n"


def test_recorded_jobs_come_once_with_their_times(tmp_path: Path) -> None:
    path = written(tmp_path, row("a", timestamp=2000), row("b", timestamp=500))
    assert len(draw(9, path=path)) == 2
    times = workload(path=path).times()
    assert times is not None
    assert times.tolist() == [0.0, 1.5]


def test_without_recorded_times_there_are_none(tmp_path: Path) -> None:
    assert workload().times() is None
    assert workload(path=written(tmp_path, row("a"))).times() is None


def test_the_longest_sequence_of_each_job_is_known_without_prompts(tmp_path: Path) -> None:
    path = written(tmp_path, row("a"), row("a", input_length=20), row("b"))
    assert list(workload(path=path).sequence_lengths(0)) == [36, 12]
    assert list(islice(workload(turns=2).sequence_lengths(0), 2)) == [256, 256]
    (request,) = draw(1, turns=2)
    assert max(map(sum, request.lengths())) == 256


def test_spans_left_out_become_a_caveat(tmp_path: Path) -> None:
    span = {"traceId": "t", "startTimeUnixNano": 0, "endTimeUnixNano": 1}
    usage = {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3}
    whole = {**span, "spanId": "a", "attributes": {**usage, "gen_ai.usage.output_tokens": 2}}
    path = written(tmp_path, whole, {**span, "spanId": "b", "attributes": usage})
    (caveat,) = workload(path=path).caveats()
    assert caveat.parameters["reasons"] == ["1 requests without token counts"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "x", "turns": 3}, "`path` provides the jobs; remove `turns`"),
        ({"delay_scale": 2}, "without `path`, jobs are generated; remove `delay_scale`"),
        ({"fan_out_share": 0.5}, "`fan_out_share` needs `fan_out`"),
        ({"fan_out": 2, "fan_out_share": 2}, "less than or equal to 1"),
        ({"tool_delay": -1}, "greater than or equal to 0"),
    ],
)
def test_options_that_exclude_each_other_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Agents.Options.model_validate(options)


def test_a_file_of_another_form_is_refused_by_check(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown form of jobs"):
        workload(path=written(tmp_path, {"prompt": "Why?"})).check()
    with pytest.raises(InputError, match="session_id: found None"):
        workload(path=written(tmp_path, {"prompt": "Why?"}), format="mooncake").check()


def test_recorded_times_start_jobs_and_requests_may_be_more(tmp_path: Path) -> None:
    rows = [row("a", timestamp=0), row("a"), row("b", timestamp=3000), row("b")]
    of = workload(path=written(tmp_path, *rows))
    load = TraceLoad(TraceLoad.Options(speed=2)).following(of)
    due = load.arrivals(Stop(requests=4), np.random.default_rng(0)).at_start()
    assert list(due) == [0.0, 1.5]
