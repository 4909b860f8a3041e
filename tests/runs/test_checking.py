"""Stored JSON is checked throughout, and errors name the key."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmbench.errors import MAX_MESSAGE, InputError
from llmbench.runs.checking import DEEPEST, checked


def problem(content: Any, kind: Any = dict[str, Any]) -> str:
    with pytest.raises(InputError) as raised:
        checked(content, kind, "f.json", "make it again")
    assert str(raised.value).startswith("f.json: not in llmbench's format: ")
    assert str(raised.value).endswith("; make it again")
    return str(raised.value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", "1e300", "9" * 400])
def test_numbers_are_finite_and_bounded(number: str) -> None:
    content = json.loads(f'{{"a": [1, {{"b": {number}}}]}}')
    assert "expected a number between ±1.8e+19 - at `$.a[1].b`" in problem(content)


def test_texts_and_keys_are_unicode() -> None:
    assert "half of a surrogate pair - at `$.a`" in problem({"a": "\ud800"})
    assert "half of a surrogate pair" in problem({"a": {"\udc00": 1}})


def test_nesting_is_bounded() -> None:
    content: Any = 1
    for _ in range(DEEPEST + 1):
        content = [content]
    assert f"nested more than {DEEPEST} levels deep" in problem(content, list[Any])


def test_a_wrong_type_is_named_with_its_key() -> None:
    assert "Expected `int`, got `str` - at `$[...]`" in problem({"a": "x"}, dict[str, int])


def test_an_error_is_short_and_has_no_control_characters() -> None:
    message = problem({"a\x1b[31m" + "x" * 5000: float("nan")})
    assert message.isprintable()
    assert len(message) <= MAX_MESSAGE


def test_usual_content_is_converted() -> None:
    assert checked({"a": [1, 2.5, None, True, "ü"]}, dict[str, Any], "f.json", "") == {
        "a": [1, 2.5, None, True, "ü"]
    }
