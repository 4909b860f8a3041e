"""Whether answers have the form that their requests ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.quality import json_schema, validity
from llmbench.quality.validity import CUT, ToolCall, Validity, judge
from llmbench.runs.request import Constraint

COLORS = {"type": "object", "properties": {"color": {"enum": ["red"]}}, "required": ["color"]}
OPENAI = {"type": "json_schema", "json_schema": {"name": "color", "schema": COLORS}}
LLAMA_CPP = {"type": "json_object", "schema": COLORS}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
NAMED = {"type": "function", "function": {"name": "weather"}}


def of_json(text: str, response_format: Any = OPENAI, **more: Any) -> Validity:
    kind = "json_object" if response_format == {"type": "json_object"} else "json_schema"
    return judge(Constraint(kind, {"response_format": response_format}), text, [], **more)  # type: ignore[arg-type]


def of_calls(*calls: ToolCall, choice: Any = "required") -> Validity:
    fields = {"tools": [WEATHER, CLOCK], "tool_choice": choice}
    return judge(Constraint("tools", fields), "", calls)


@pytest.mark.parametrize("response_format", [OPENAI, LLAMA_CPP])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"color": "red"}', None),
        (' {"color":"red"}\n', None),
        ('{"color": "blue"}', "against the schema: enum"),
        ("{}", "against the schema: required"),
        ("[]", "against the schema: type"),
        ('{"color": "red"', "not JSON"),
        ('```json\n{"color": "red"}\n```', "not JSON"),
        ('{"color": NaN}', "not JSON"),
        ("", "not JSON"),
        ('{"color": "red"} and more', "not JSON"),
        ("\ud800", "not JSON"),
    ],
)
def test_an_answer_must_be_json_of_the_schema(
    text: str, reason: str | None, response_format: Any
) -> None:
    assert of_json(text, response_format) == Validity(reason is None, reason)


def test_a_json_object_needs_no_schema_and_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validity, "violation", None)
    plain = {"type": "json_object"}
    assert of_json('{"a": 1}', plain) == Validity(is_valid=True)
    assert of_json("[1]", plain).reason == "not a JSON object"


def test_an_invalid_answer_of_the_requested_length_is_cut() -> None:
    assert of_json('{"color": "re', is_cut=True) == Validity(is_valid=False, reason=CUT)
    assert of_json('{"color": "red"}', is_cut=True) == Validity(is_valid=True)


def test_json_that_is_nested_too_deeply_is_invalid() -> None:
    assert of_json("[" * 100_000).reason in ("nested too deeply", "not JSON")


def test_an_answer_that_is_too_long_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validity, "MAX_CHARACTERS", 10)
    assert of_json('{"color": "red"}').is_valid is None


def test_an_answer_that_takes_too_long_is_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "SECONDS", 0.05)
    slow = {"type": "json_object", "schema": {"pattern": "^(a+)+$"}}
    judged = of_json(json.dumps("a" * 64 + "b"), slow)
    assert judged == Validity(None, "the validation took too long")


@pytest.mark.parametrize(
    ("calls", "choice", "reason"),
    [
        ([ToolCall("weather", '{"city": "Oslo"}')], "required", None),
        ([ToolCall("weather", '{"city": "Oslo"}')], NAMED, None),
        ([ToolCall("weather", '{"city": "Oslo"}')], "auto", None),
        ([ToolCall("clock", "")], "required", None),
        ([ToolCall("clock", '{"any": 1}')], "required", None),
        ([ToolCall("clock", "{}"), ToolCall("weather", '{"city": "Oslo"}')], "auto", None),
        ([], "none", None),
        ([], "required", "no tool call"),
        ([], NAMED, "no tool call"),
        ([ToolCall("clock", "{}")], "none", "a tool call, unasked for"),
        ([ToolCall("clock", "{}")], NAMED, "another tool"),
        ([ToolCall("wether", "{}")], "auto", "unknown tool"),
        ([ToolCall("weather", "{}")], "auto", "arguments against the schema: required"),
        ([ToolCall("weather", '{"city": 1}')], "auto", "arguments against the schema: type"),
        ([ToolCall("weather", '{"city": "Os')], "auto", "arguments that are not a JSON object"),
        ([ToolCall("weather", '"Oslo"')], "auto", "arguments that are not a JSON object"),
        ([ToolCall("clock", "{}"), ToolCall("x", "{}")], "auto", "unknown tool"),
    ],
)
def test_tool_calls_have_a_known_name_and_valid_arguments(
    calls: list[ToolCall], choice: Any, reason: str | None
) -> None:
    assert of_calls(*calls, choice=choice) == Validity(reason is None, reason)


def test_text_instead_of_a_call_is_not_judged_if_the_model_may_choose() -> None:
    assert of_calls(choice="auto").is_valid is None
    assert judge(Constraint("tools", {"tools": [CLOCK]}), "It is noon.", []).is_valid is None


def test_malformed_calls_are_invalid() -> None:
    constraint = Constraint("tools", {"tools": [CLOCK]})
    assert judge(constraint, "", None).reason == "malformed tool call"


@given(st.text(max_size=50))
def test_no_text_of_a_model_is_an_error(text: str) -> None:
    assert of_json(text).is_valid in (True, False)
    assert of_calls(ToolCall(text, text), choice="auto").is_valid is False
