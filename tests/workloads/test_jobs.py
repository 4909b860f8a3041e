"""Jobs in files of conversations and of sessions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import FileError, LlmbenchError
from llmbench.runs.tables import parse_table
from llmbench.workloads import jobs
from llmbench.workloads.jobs import Job, Step, from_messages, from_sessions, recognized

PATH = Path("jobs.jsonl")
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
TRAJECTORY: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "sun", "delay": 250},
    {"role": "tool", "tool_call_id": "c1", "content": "rain", "delay": 1500},
    {"role": "assistant", "content": "So."},
]


def table(*rows: Any) -> Any:
    return parse_table("\n".join(map(json.dumps, rows)).encode(), PATH)


def session(*rows: dict[str, Any]) -> tuple[Step, ...]:
    (job,) = from_sessions(table(*({"session_id": "a", **row} for row in rows))).jobs
    return job.steps


def test_each_answer_of_a_conversation_is_a_request() -> None:
    (job,) = from_messages(table({"messages": TRAJECTORY})).jobs
    first, second = job.steps
    assert [message.role for message in first.messages] == ["system", "user"]
    assert [message.role for message in second.messages] == [m["role"] for m in TRAJECTORY[:-1]]
    assert second.messages[2].fields == {"tool_calls": [CALL]}
    assert (first.parents, second.parents, second.output) == ((), (0,), "So.")
    assert json.loads(str(first.output)) == [CALL]


def test_tools_take_as_long_as_the_slowest() -> None:
    (job,) = from_messages(table({"messages": TRAJECTORY})).jobs
    assert [step.delay for step in job.steps] == [0.0, 1.5]


def test_a_conversation_without_an_answer_is_left_out_and_counted() -> None:
    recorded = from_messages(table({"messages": TRAJECTORY}, {"messages": TRAJECTORY[:2]}))
    assert (len(recorded.jobs), recorded.left_out.reasons) == (1, ["1 without an answer"])


def test_a_greeting_is_not_a_request() -> None:
    greeting = {"role": "assistant", "content": "Hello"}
    (job,) = from_messages(table({"messages": [greeting, *TRAJECTORY]})).jobs
    assert [len(step.messages) for step in job.steps] == [3, 6]


@pytest.mark.parametrize("delay", [-1, "soon", True, 1e30, [1]])
def test_a_delay_that_is_not_a_time_is_refused_with_its_line(delay: Any) -> None:
    said = [*TRAJECTORY[:3], {**TRAJECTORY[3], "delay": delay}, TRAJECTORY[-1]]
    with pytest.raises(FileError, match=r"jobs.jsonl:2: delay: found .* a number from 0"):
        from_messages(table({"messages": TRAJECTORY}, {"messages": said}))


def test_the_rows_of_a_session_follow_each_other() -> None:
    steps = session(
        {"input_length": 8, "output_length": 4, "delay": 9},
        {"input_length": 3, "output_length": 2, "delay": 2000},
        {"input_length": 5, "output_length": 1},
    )
    assert steps == (
        Step(8, 4),
        Step(3, 2, (0,), 2.0, is_fresh=False),
        Step(5, 1, (1,), 0.0, is_fresh=False),
    )


def test_a_row_with_blocks_has_a_complete_prompt() -> None:
    row = {"input_length": 600, "output_length": 4, "hash_ids": [1, 2]}
    assert session(row, row)[1] == Step(600, 4, (0,), 0.0, is_fresh=True, blocks=(1, 2))


def test_a_row_with_messages_has_all_of_them_unless_it_is_a_delta() -> None:
    row = {"messages": TRAJECTORY[:2], "output_length": 4}
    first, second, third = session(row, row, {**row, "message_mode": "delta"})
    assert (first.is_fresh, second.is_fresh, third.is_fresh) == (True, True, False)
    assert second.text == "Be brief.\n\nWhy?"


def test_jobs_are_ordered_by_the_time_of_their_first_row() -> None:
    row = {"input_length": 8, "output_length": 4}
    rows = [{**row, "session_id": name, "timestamp": t} for name, t in (("b", 5000), (7, 2000))]
    recorded = from_sessions(table(*rows)).jobs
    found = [(job.where, job.time) for job in recorded]
    assert found == [("jobs.jsonl:2", 0.0), ("jobs.jsonl:1", 3.0)]


def test_jobs_of_which_one_has_no_time_have_none() -> None:
    row = {"input_length": 8, "output_length": 4}
    rows = [{**row, "session_id": "a", "timestamp": 0}, {**row, "session_id": "b"}]
    assert [job.time for job in from_sessions(table(*rows)).jobs] == [None, None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"session_id": None}, "session_id: found None"),
        ({"session_id": 1.5}, "session_id: found 1.5"),
        ({"input_length": 0}, "input_length: found 0"),
        ({"input_length": "8"}, "input_length: found '8'"),
        ({"output_length": 2.5}, "output_length: found 2.5"),
        ({"output_length": None}, "output_length: found None"),
        ({"hash_ids": ["a"]}, "hash_ids: found"),
        ({"hash_ids": 3}, "hash_ids: found 3"),
        ({"delay": -1}, "delay: found -1"),
        ({"messages": []}, "messages: all are blank"),
        ({"messages": [3]}, "messages: with a conversation that is not a list of objects"),
    ],
)
def test_a_malformed_row_is_refused_with_its_line(change: dict[str, Any], message: str) -> None:
    row = {"session_id": "a", "input_length": 8, "output_length": 4}
    with pytest.raises(FileError) as error:
        from_sessions(table(row, {**row, **change}))
    assert str(error.value).startswith("jobs.jsonl:2: ")
    assert message in str(error.value)


def test_a_job_with_too_many_requests_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_REQUESTS", 2)
    row = {"input_length": 8, "output_length": 4}
    with pytest.raises(FileError, match=r"jobs.jsonl:1: the job has 3 requests; .* at most 2"):
        session(row, row, row)


def test_a_conversation_that_grows_beyond_any_context_is_refused_with_its_line() -> None:
    rows = [{"session_id": 1, "input_length": 6_000_000, "output_length": 1}] * 2
    with pytest.raises(FileError) as caught:
        jobs.from_sessions(table(*rows))
    assert "the prompt of request 2 of the job has 12,000,001 tokens" in str(caught.value)
    assert "at most 10,000,000" in str(caught.value)


def test_messages_beyond_any_context_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MAX_TEXT", 30)
    roles = ["user", "assistant"] * 3
    said = [{"role": role, "content": "ten letter"} for role in roles]
    with pytest.raises(FileError, match="the prompt of request 3 of the job has 50 characters"):
        jobs.from_messages(table({"messages": said}))
    jobs.from_messages(table({"messages": said[:4]}))


def test_the_form_of_a_file_is_recognized_by_its_first_row() -> None:
    rows = [{"messages": []}, {"session_id": 1, "messages": []}, {"spanId": "a"}]
    assert [recognized(table(row)) for row in rows] == ["messages", "mooncake", "otel"]
    with pytest.raises(FileError, match="unknown form of jobs"):
        recognized(table({"prompt": "Why?"}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
messages = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "delay", "tool_calls"]),
                    st.sampled_from(["user", "assistant", "tool", "system"]) | json_values)
)  # fmt: skip
rows = st.fixed_dictionaries(
    {},
    optional={
        "session_id": st.sampled_from(["a", "b", 3]) | json_values,
        "messages": messages | json_values,
        "input_length": st.integers(1, 99) | json_values,
        "output_length": st.integers(1, 99) | json_values,
        "hash_ids": st.lists(st.integers(0, 9)) | json_values,
        "delay": st.floats(0, 9) | json_values,
        "timestamp": st.floats(0, 9) | json_values,
        "message_mode": st.just("delta"),
    },
)


@given(st.lists(rows, min_size=1, max_size=6))
def test_any_rows_are_jobs_or_refused(values: list[dict[str, Any]]) -> None:
    for read in (from_messages, from_sessions):
        try:
            recorded = read(table(*values)).jobs
        except LlmbenchError:
            continue
        assert recorded
        for job in recorded:
            _check(job)


def _check(job: Job) -> None:
    for number, step in enumerate(job.steps):
        assert all(parent < number for parent in step.parents)
        assert 0 <= step.delay < float("inf")
        assert step.messages or step.prompt_tokens > 0
        assert step.is_fresh or step.parents
