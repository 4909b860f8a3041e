"""Jobs from OpenTelemetry's spans, in the form of the semantic conventions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import FileError
from llmbench.runs.tables import parse_table
from llmbench.workloads import spans
from llmbench.workloads.jobs import RecordedJobs, Step

PATH = Path("spans.jsonl")
SECOND = 1_000_000_000
TRACE = "5b8efff798038103d269b633813fc60c"


def span(name: str, parent: str, begin: float, end: float, **more: Any) -> dict[str, Any]:
    """Return a span of OTLP/JSON; ``operation``, ``input`` and ``output`` are its attributes."""
    keys = {
        "gen_ai.operation.name": more.pop("operation", None),
        "gen_ai.usage.input_tokens": more.pop("input", None),
        "gen_ai.usage.output_tokens": more.pop("output", None),
    }
    attributes = [
        {
            "key": key,
            "value": {("intValue" if isinstance(value, int) else "stringValue"): str(value)},
        }
        for key, value in keys.items()
        if value is not None
    ]
    return {
        "traceId": TRACE, "spanId": name, "parentSpanId": parent, "name": name,
        "startTimeUnixNano": str(int(begin * SECOND)), "endTimeUnixNano": str(int(end * SECOND)),
        "attributes": attributes, **more,
    }  # fmt: skip


def chat(
    name: str, parent: str, begin: float, end: float, tokens: tuple[int, int] = (9, 1)
) -> dict[str, Any]:
    return span(name, parent, begin, end, operation="chat", input=tokens[0], output=tokens[1])


def tool(name: str, parent: str, begin: float, end: float) -> dict[str, Any]:
    return span(name, parent, begin, end, operation="execute_tool")


def agent(name: str, parent: str, begin: float, end: float) -> dict[str, Any]:
    return span(name, parent, begin, end, operation="invoke_agent")


def read(*rows: Any) -> RecordedJobs:
    return spans.from_spans(parse_table("\n".join(map(json.dumps, rows)).encode(), PATH))


def steps(*rows: Any) -> tuple[Step, ...]:
    (job,) = read(*rows).jobs
    return job.steps


LOOP = (
    agent("a", "", 0, 10),
    chat("c0", "a", 0.5, 2, (100, 20)),
    tool("t0", "a", 2, 3.5),
    chat("c1", "a", 3.75, 5, (160, 30)),
)


def test_a_tool_is_the_delay_before_the_next_request_of_the_agent() -> None:
    assert steps(*LOOP) == (Step(100, 20), Step(40, 30, (0,), 1.75, is_fresh=False))


def test_a_prompt_that_is_not_longer_begins_a_conversation() -> None:
    trimmed = chat("c2", "a", 6, 7, (150, 10))
    assert steps(*LOOP, trimmed)[2] == Step(150, 10, (1,), 1.0, is_fresh=True)


def test_subagents_in_parallel_wait_for_the_request_before_and_the_next_one_for_all() -> None:
    found = steps(
        agent("a", "", 0, 20),
        chat("c0", "a", 0, 2, (100, 20)),
        tool("t1", "a", 2, 9), agent("a1", "t1", 2, 9),
        chat("c1", "a1", 3, 5, (50, 5)), chat("c2", "a1", 6, 9, (60, 5)),
        tool("t2", "a", 2, 6), agent("a2", "t2", 2, 6),
        chat("c3", "a2", 4, 6, (70, 5)),
        chat("c4", "a", 10, 12, (150, 8)),
    )  # fmt: skip
    assert found == (
        Step(100, 20),
        Step(50, 5, (0,), 1.0),  # c1
        Step(70, 5, (0,), 2.0),  # c3
        Step(5, 5, (1,), 1.0, is_fresh=False),  # c2
        Step(30, 8, (0, 2, 3), 1.0, is_fresh=False),  # c4
    )


def test_requests_that_overlap_are_parallel() -> None:
    found = steps(chat("c0", "", 0, 2), chat("c1", "", 1, 3), chat("c2", "", 3, 4))
    assert [step.parents for step in found] == [(), (), (0, 1)]
    assert [step.delay for step in found] == [0.0, 1.0, 0.0]


def test_a_call_that_contains_others_is_not_a_request_itself() -> None:
    found = steps(chat("outer", "", 0, 9, (99, 9)), chat("inner", "outer", 1, 2))
    assert found == (Step(9, 1),)


def with_prompt(row: dict[str, Any], text: Any) -> dict[str, Any]:
    """Return a span with the contents of its prompt, as OTLP has them."""
    value = {"stringValue": text} if isinstance(text, str) else text
    row["attributes"].append({"key": "gen_ai.input.messages", "value": value})
    return row


def test_a_recorded_prompt_is_sent_instead_of_a_generated_one() -> None:
    texts = [json.dumps([{"role": "user", "content": word}]) for word in ("one", "one two")]
    first = with_prompt(chat("b", "a", 0, 1), texts[0])
    second = with_prompt(chat("c", "a", 3, 4, (20, 2)), texts[1])
    one, two = steps(agent("a", "", 0, 4), first, second)
    assert [one.text, two.text] == ["one", "one two"]
    assert (two.is_fresh, two.parents, two.delay, two.output) == (True, (0,), 2.0, 2)
    assert two.prompt_tokens == 0


def test_structured_contents_and_those_of_an_event_are_read() -> None:
    message = {"key": "content", "value": {"stringValue": "hi"}}
    role = {"key": "role", "value": {"stringValue": "user"}}
    value = {"arrayValue": {"values": [{"kvlistValue": {"values": [role, message]}}]}}
    (structured,) = steps(with_prompt(chat("a", "", 0, 1), value))
    attributes = [{"key": "gen_ai.input.messages", "value": value}]
    event = {"name": "gen_ai.client.inference.operation.details", "attributes": attributes}
    (of_event,) = steps({**chat("a", "", 0, 1), "events": [{"name": "other"}, event]})
    assert structured.text == of_event.text == "hi"


def test_contents_that_are_cut_are_counted_and_the_prompt_is_generated() -> None:
    found = read(with_prompt(chat("a", "", 0, 1), '[{"role": "us'))
    assert found.jobs[0].steps[0].prompt_tokens == 9
    assert found.left_out.reasons == [
        "1 requests with contents that are not whole (their prompts are generated)"
    ]


def test_batches_of_otlp_are_read_like_single_spans() -> None:
    scopes = [{"spans": list(LOOP[:2])}, {"spans": list(LOOP[2:])}]
    batch = {"resourceSpans": [{"scopeSpans": scopes}]}
    assert steps(batch) == steps(*LOOP)


def test_the_begin_of_a_job_is_that_of_its_first_request() -> None:
    other = {**chat("x", "", 4, 5), "traceId": "other"}
    jobs = read(*LOOP, other).jobs
    assert [job.time for job in jobs] == [0.0, 3.5]


def test_calls_without_tokens_and_traces_without_calls_are_left_out_and_counted() -> None:
    failed = span("f", "a", 6, 7, operation="chat")
    lone = {**tool("x", "", 0, 1), "traceId": "other"}
    recorded = read(*LOOP, failed, lone)
    assert len(recorded.jobs) == 1
    reasons = ["1 requests without token counts", "1 traces without requests"]
    assert recorded.left_out.reasons == reasons


def test_a_file_without_requests_is_refused() -> None:
    with pytest.raises(FileError, match="no job can be used: 1 traces without requests"):
        read(tool("x", "", 0, 1))


def test_names_of_token_counts_before_version_1_27_are_read() -> None:
    old = chat("c", "", 0, 1, (9, 3))
    for attribute, name in zip(old["attributes"][1:], ("prompt", "completion"), strict=True):
        attribute["key"] = f"gen_ai.usage.{name}_tokens"
    assert steps(old) == (Step(9, 3),)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([chat("c", "x", 0, 1)], "no span .x. in trace .*export whole traces"),
        ([tool("a", "b", 0, 1), chat("b", "a", 0, 1)], "span a: is its own ancestor"),
        ([chat("c", "c", 0, 1)], "span c: is its own ancestor"),
        ([chat("r", "", 0, 1), tool("a", "b", 0, 1), tool("b", "a", 0, 1)], "span a: is its own"),
        ([chat("c", "", 0, 1)] * 2, "span c: another span has the same id"),
        ([chat("c", "", 1, 0)], "span c: ends before it begins"),
        ([{**chat("c", "", 1, 2), "endTimeUnixNano": "x"}], "endTimeUnixNano: found 'x'"),
        ([{**chat("c", "", 1, 2), "traceId": 7}], "traceId: found 7"),
        ([{**chat("c", "", 1, 2), "attributes": 7}], "attributes: found 7"),
        ([{"spans": 7}], "spans: found 7"),
        ([{"resourceSpans": [{"scopeSpans": 3}]}], "scopeSpans: found 3"),
        ([chat("c", "", 1, 2, (-9, 1))], "gen_ai.usage.input_tokens: found"),
    ],
)  # fmt: skip
def test_malformed_spans_are_refused_with_their_line(rows: list[Any], message: str) -> None:
    with pytest.raises(FileError, match=rf"(?s)^spans.jsonl:\d.*{message}"):
        read(*rows)


def test_spans_nested_too_deeply_are_refused() -> None:
    nested = [tool(f"t{n}", f"t{n - 1}" if n else "", 0, 1) for n in range(spans.MAX_DEPTH + 1)]
    with pytest.raises(FileError, match="is below 100 others"):
        read(*nested)


def test_a_trace_with_too_many_requests_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "MAX_REQUESTS", 1)
    with pytest.raises(FileError, match="has 2 requests"):
        read(*LOOP)


OPERATIONS = ["chat", "invoke_agent", "execute_tool", None]


@st.composite
def traces(draw: st.DrawFn) -> list[dict[str, Any]]:
    rows = []
    for number in range(draw(st.integers(1, 12))):
        parent = draw(st.integers(-1, number - 1))
        begin, length = draw(st.integers(0, 20)), draw(st.integers(0, 5))
        tokens = draw(st.integers(1, 50)), draw(st.integers(1, 9))
        rows.append(
            span(f"s{number}", f"s{parent}" if parent >= 0 else "", begin, begin + length,
                 operation=draw(st.sampled_from(OPERATIONS)), input=tokens[0], output=tokens[1])
        )  # fmt: skip
    return draw(st.permutations(rows))


@given(traces())
def test_any_tree_of_spans_is_a_graph_without_cycles(rows: list[dict[str, Any]]) -> None:
    if not any(_is_innermost_call(row, rows) for row in rows):
        with pytest.raises(FileError, match="without requests"):
            steps(*rows)
        return
    found = steps(*rows)
    total: list[int] = []
    for number, step in enumerate(found):
        assert all(parent < number for parent in step.parents)
        assert len(set(step.parents)) == len(step.parents)
        assert step.delay >= 0
        assert step.is_fresh or step.parents
        before = 0 if step.is_fresh else total[step.parents[0]]
        total.append(before + step.prompt_tokens + int(step.output))
    prompts = sorted(t - int(step.output) for t, step in zip(total, found, strict=True))
    assert prompts == sorted(
        int(row["attributes"][1]["value"]["intValue"])
        for row in rows
        if _is_innermost_call(row, rows)
    )


def _is_innermost_call(row: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether a span is a call of a model without others below it."""
    return _is_call(row) and not any(
        _is_call(r) and _is_below(r, row["spanId"], rows) for r in rows
    )


def _is_call(row: dict[str, Any]) -> bool:
    return bool(row["attributes"][0]["value"].get("stringValue") == "chat")


def _is_below(row: dict[str, Any], name: str, rows: list[dict[str, Any]]) -> bool:
    parents = {r["spanId"]: r["parentSpanId"] for r in rows}
    above = row["parentSpanId"]
    while above and above != name:
        above = parents[above]
    return bool(above)
