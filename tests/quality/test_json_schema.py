"""JSON schemas are checked when they are read, and values against them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import MissingExtraError
from llmbench.quality import json_schema
from llmbench.quality.json_schema import UndecidedError, check_schema, violation

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("schema", [PERSON, {}, True, {"$ref": "#/$defs/a", "$defs": {"a": {}}}])
def test_schemas_are_accepted(schema: Any) -> None:
    check_schema(schema)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("string", "is not an object"),
        (None, "is not an object"),
        ({"type": "text"}, "is not a JSON schema: type: 'text' is not valid"),
        ({"properties": {"a": {"minimum": "0"}}}, "is not a JSON schema: properties.a.minimum: "),
        ({"$ref": "https://example.org/schema.json"}, "refers to another document"),
        ({"items": {"$ref": "other.json#/a"}}, "refers to another document"),
    ],
)
def test_what_is_no_schema_is_refused(schema: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_schema(schema)


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(70):
        schema = {"items": schema}
    with pytest.raises(ValueError, match="has more than 64 levels"):
        check_schema(schema)


@pytest.mark.parametrize(
    ("value", "keyword"),
    [
        ({"name": "Ada", "age": 36}, None),
        ({"name": "Ada"}, "required"),
        ({"name": "Ada", "age": "36"}, "type"),
        ({"name": "Ada", "age": -1}, "minimum"),
        ({"name": "Ada", "age": 36, "more": 1}, "additionalProperties"),
        ([], "type"),
    ],
)
def test_the_violated_keyword_is_named(value: Any, keyword: str | None) -> None:
    assert violation(PERSON, value) == keyword


def test_the_draft_is_that_of_the_schema() -> None:
    exclusive = {"minimum": 1, "exclusiveMinimum": True}
    check_schema({"$schema": "http://json-schema.org/draft-04/schema#", **exclusive})
    with pytest.raises(ValueError, match="exclusiveMinimum"):
        check_schema(exclusive)


def test_a_pattern_that_takes_too_long_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "SECONDS", 0.05)
    with pytest.raises(UndecidedError, match="took too long"):
        violation({"pattern": "^(a+)+$"}, "a" * 64 + "b")


def test_a_reference_to_nothing_is_undecided() -> None:
    with pytest.raises(UndecidedError, match="reference to nothing"):
        violation({"$ref": "#/$defs/missing"}, 1)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_every_value_fits_the_empty_schema_and_none_the_false_one(value: Any) -> None:
    assert violation({}, value) is None
    assert violation(False, value) == "None"  # noqa: FBT003 (a schema)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_schema, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmbench\[answers\]'"):
        json_schema.require("a dataset with JSON schemas")
