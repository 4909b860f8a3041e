"""What the rows of files ask of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import FileError
from llmbench.runs.request import Constraint, Expected
from llmbench.runs.tables import Row
from llmbench.workloads.constraints import MAX_BYTES, constraint_of, expected_of
from llmbench.workloads.dataset import Dataset

SCHEMA = {"type": "object", "required": ["a"]}
OPENAI = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
LLAMA_CPP = {"type": "json_object", "schema": SCHEMA}
TOOL = {"type": "function", "function": {"name": "clock", "parameters": SCHEMA}}
NAMED = {"type": "function", "function": {"name": "clock"}}


def of(**fields: Any) -> Constraint | None:
    return constraint_of(Row("rows.jsonl:3", {"prompt": "a", **fields}))


def expected(value: Any) -> Expected | None:
    return expected_of(Row("rows.jsonl:3", {"answer": value}), "answer")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"response_format": OPENAI}, "json_schema"),
        ({"response_format": LLAMA_CPP}, "json_schema"),
        ({"response_format": {"type": "json_object"}}, "json_object"),
        ({"tools": [TOOL]}, "tools"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tools"),
        ({"tools": [TOOL], "tool_choice": NAMED}, "tools"),
    ],
)
def test_a_constraint_has_the_fields_of_its_row(fields: dict[str, Any], kind: Any) -> None:
    assert of(**fields) == Constraint(kind, fields)
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    assert of(**texts) == Constraint(kind, fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": None, "tools": None},
        {"response_format": "", "tools": ""},
        {"tools": []},
        {"response_format": {"type": "text"}},
    ],
)
def test_rows_without_a_form_have_no_constraint(fields: dict[str, Any]) -> None:
    assert of(**fields) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"response_format": "json"}, "response_format: found 'json'; expected a type of text or"),
        ({"response_format": {"type": "xml"}}, "found {'type': 'xml'}; expected a type of"),
        ({"response_format": {"type": "json_schema"}}, "expected `json_schema: {schema: …}`"),
        (
            {"response_format": {"type": "json_object", "schema": {"type": "text"}}},
            "response_format: the schema is not a JSON schema: type: 'text' is not valid",
        ),
        (
            {"response_format": {"type": "json_object", "schema": {"$ref": "a.json"}}},
            "response_format: the schema refers to another document",
        ),
        ({"response_format": "{"}, "not valid JSON: Expecting property name"),
        ({"response_format": OPENAI, "tools": [TOOL]}, "expected only one of them"),
        ({"tools": {"name": "clock"}}, "tools: found {'name': 'clock'}; expected a list of"),
        ({"tools": [{"type": "function"}]}, "expected a list of {type: function"),
        ({"tools": [TOOL] * 129}, "tools: found 129 tools; expected at most 128"),
        ({"tools": [{"function": {"name": "a", "parameters": 1}}]}, "'a': the schema is not an"),
        ({"tool_choice": "auto"}, "tool_choice: found without `tools`; expected both, or neither"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice: found 'any'; expected none or"),
        (
            {"tools": [TOOL], "tool_choice": {"function": {"name": "clok"}}},
            "tool_choice: found 'clok'; expected clock",
        ),
        ({"response_format": {"type": "json_object", "x": "a" * MAX_BYTES}}, "at most 262,144"),
    ],
)
def test_malformed_rows_are_errors_with_their_place(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FileError) as error:
        of(**fields)
    assert str(error.value).startswith("rows.jsonl:3: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (42, Expected("number", "42")),
        (0, Expected("number", "0")),
        (-1.5, Expected("number", "-1.5")),
        ("42", Expected("number", "42", ("42",))),
        ("Paris", Expected("choice", "Paris", ("Paris",))),
        ({"choice": "B", "of": ["A", "B"]}, Expected("choice", "B", ("A", "B"))),
        ('{"choice": "B", "of": ["A", "B"]}', Expected("choice", "B", ("A", "B"))),
        ({"regex": "^a"}, Expected("regex", "^a")),
        (None, None),
        (" ", None),
    ],
)
def test_right_answers_are_numbers_choices_or_regular_expressions(
    value: Any, right: Expected | None
) -> None:
    assert expected(value) == right


@pytest.mark.parametrize(
    "value",
    [
        True,
        float("inf"),
        ["A"],
        {"choice": "C", "of": ["A", "B"]},
        {"choice": "A", "of": ["A", " "]},
        {"regex": ""},
        {"regex": "("},
        {"text": "a"},
        '{"regex"}',
    ],
)
def test_other_answers_are_errors_with_their_place(value: Any) -> None:
    with pytest.raises(FileError, match=r"^rows\.jsonl:3: answer"):
        expected(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_every_row_has_a_constraint_or_is_an_error(form: Any, tools: Any, choice: Any) -> None:
    for fields in ({"response_format": form}, {"tools": tools, "tool_choice": choice}):
        try:
            constraint = of(**fields)
        except FileError:
            continue
        assert constraint is None or constraint.kind in ("json_object", "json_schema", "tools")


@given(JSON)
def test_every_answer_is_expected_or_an_error(value: Any) -> None:
    try:
        right = expected(value)
    except FileError:
        return
    assert right is None or right.kind in ("number", "choice", "regex")


def test_the_file_and_line_of_a_row_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"prompt": "a"}, {"prompt": "b", "response_format": {"type": "yaml"}}]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    with pytest.raises(FileError, match=rf"{path}:2: response_format: found"):
        Dataset(Dataset.Options(path=path)).check()
