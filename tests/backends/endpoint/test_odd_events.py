"""Events that are not exactly OpenAI's chunks, and the texts of errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmbench.backends.endpoint.odd_events import error_text, standardized


@pytest.mark.parametrize(
    ("error", "text"),
    [
        ("out of memory", "out of memory"),
        ({"message": "out of memory", "code": 500}, "out of memory"),
        ({"error": {"error": {"message": "out of memory"}}}, "out of memory"),
        ({"detail": "out of memory"}, "out of memory"),
        ({"errors": [{"msg": "out of memory"}]}, "out of memory"),
        (["out of memory", {"message": "try later"}], "out of memory; try later"),
        ({"loc": ["body", "max_tokens"], "msg": "not permitted"}, "body.max_tokens: not permitted"),
        ({"code": 17}, '{"code": 17}'),
        (500, "500"),
        (True, "true"),
        ("  ", ""),
        ({}, ""),
        ([], ""),
        ({"message": "", "code": None}, ""),
        (None, ""),
        (False, ""),
    ],
)
def test_the_text_of_an_error_is_found_in_every_form(error: Any, text: str) -> None:
    assert error_text(error) == text


def test_a_long_list_of_errors_is_cut() -> None:
    assert error_text(["error"] * 1000) == "; ".join(["error"] * 8)


@pytest.mark.parametrize(
    ("data", "standard"),
    [
        (b"", {}),
        (b" \t", {}),
        (b"null", {}),
        (b"[]", {}),
        (b"\xef\xbb\xbf{}", {}),
        (b'[{"usage": {"completion_tokens": 1}}]', {"usage": {"completion_tokens": 1}}),
        (b"upstream connect error", {"error": "upstream connect error"}),
        (b"[ERROR] out of memory", {"error": "[ERROR] out of memory"}),
        (b"Gr\xf6\xdfe", {"error": "Gr\ufffd\ufffde"}),
        (b'"out of memory"', {"error": "out of memory"}),
        (b'["out of memory", "try later"]', {"error": "out of memory; try later"}),
        (b'[{"error": {"message": "full"}}]', {"error": {"message": "full"}}),
        (b'{"choices": [{"delta": []}]}', {"choices": [{}]}),
        (b'{"usage": {"completion_tokens": NaN}}', {"usage": {"completion_tokens": None}}),
        (b'{"usage": {"completion_tokens": 1e999}}', {"usage": {"completion_tokens": None}}),
        (b'{"usage": {"completion_tokens": 12}}', {"usage": {"completion_tokens": 12}}),
        (rb'{"usage": "\ud83d\ude00 \ud83d"}', {"usage": "\U0001f600 \ufffd"}),
    ],
)
def test_a_readable_event_is_brought_into_the_standard_form(data: bytes, standard: Any) -> None:
    written = json.loads(standardized(data))
    assert {name: value for name, value in written.items() if value is not None} == standard


@pytest.mark.parametrize(
    "data",
    [
        b'{"error": true, "message": "full"}',
        b'{"error": 500, "detail": "full"}',
        b'{"error": "", "message": "full"}',
        b'{"object": "error", "message": "full"}',
        b'{"detail": [{"msg": "full"}]}',
        b'{"code": 1, "error_msg": "full"}',
    ],
)
def test_an_error_under_another_name_is_found(data: bytes) -> None:
    assert json.loads(standardized(data))["error"] == "full"


@pytest.mark.parametrize("data", [b'{"type": "ping"}', b'{"message": {"role": "assistant"}}'])
def test_an_object_without_an_answer_is_not_an_error(data: bytes) -> None:
    assert json.loads(standardized(data))["error"] is None


def test_an_error_under_another_name_does_not_spoil_an_answer() -> None:
    chunk = {"choices": [{"text": "a"}], "message": "ok"}
    assert json.loads(standardized(json.dumps(chunk).encode())) == chunk


@pytest.mark.parametrize(
    "data", [b'{"choices": [{"del', b'[{"choices": 1', b'"cut', b"5", b"true", b'{"a": "\xff"}']
)
def test_broken_json_and_other_types_are_rejected(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        standardized(data)
