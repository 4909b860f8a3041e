"""The name of the field with the requested length, from the words of a server that rejects it."""

from __future__ import annotations

import pytest

from llmbench.backends.endpoint.answer import Answer, Fault
from llmbench.backends.endpoint.length_field import other_length_field, rejects
from llmbench.runs.request import Request

OPENAI = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)


def failed(message: str, kind: str = "http-400") -> Answer:
    return Answer(Request(0, (1,), 1), 0.0, fault=Fault(kind, message))


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (OPENAI, "max_completion_tokens"),
        ("max_tokens is deprecated in favor of max_output_tokens", "max_output_tokens"),
        ("unknown field `max_tokens`, did you mean `maxOutputTokens`?", "maxOutputTokens"),
        ("body.max_tokens: expected one of: n_predict, top_p", "n_predict"),
        ("max_tokens is not supported with this model", None),
        ("max_tokens must be at most max_context_length", None),
        ("Use 'max_completion_tokens' instead", None),
        ("max_tokens_to_sample: use max_completion_tokens", None),
        ("max_tokens: use a smaller value", None),
        ("", None),
    ],
)
def test_another_field_is_found_in_the_words_of_a_rejection(message: str, name: str | None) -> None:
    assert other_length_field([failed(message)], "max_tokens") == name


def test_every_response_is_looked_at() -> None:
    answers = [Answer(Request(0, (1,), 1), 0.0), failed("overloaded"), failed(OPENAI)]
    assert other_length_field(answers, "max_tokens") == "max_completion_tokens"


@pytest.mark.parametrize("kind", ["http-500", "server-error", "truncated"])
def test_only_a_rejected_request_is_about_its_fields(kind: str) -> None:
    assert other_length_field([failed(OPENAI, kind)], "max_tokens") is None


def test_a_length_that_was_not_sent_cannot_be_renamed() -> None:
    assert other_length_field([failed(OPENAI)], None) is None


def test_a_rejection_names_its_field() -> None:
    assert rejects([failed("unknown field max_completion_tokens")], "max_completion_tokens")
    assert not rejects([failed("'temperature' does not support 0")], "max_completion_tokens")
