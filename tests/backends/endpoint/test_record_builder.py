"""Records of responses whose token counts cannot be true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.record_builder import RecordBuilder
from llmbench.backends.endpoint.reported_tokens import ReportedTokens
from llmbench.backends.endpoint.server_facts import ServerFacts
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.testing import open_context


@dataclass(frozen=True)
class Words:
    """A tokenizer with a token per word."""

    vocab_size: int = 0

    def encode(self, text: str) -> list[int]:
        return [0] * len(text.split())

    def encode_more(self, text: str) -> list[int]:
        return self.encode(text)

    def decode(self, ids: Any) -> str:
        return "word " * len(ids)


def answer(output: int | None, texts: str, **fields: Any) -> Answer:
    """Return a response to a request for 4 tokens, with a chunk per letter and its blanks."""
    chunks = [f"{text} " for text in texts]
    stamps = [float(index) for index, _ in enumerate(chunks)]
    reported = ReportedTokens(prompt=3, output=output)
    request = Request(0, (1, 2, 3), 4, text="a b c")
    return Answer(request, 0.0, stamps=stamps, texts=chunks, reported=reported, **fields)


def built(*answers: Answer) -> tuple[list[Record], RecordBuilder]:
    builder = RecordBuilder(open_context(stop_at_eos=True), Words(), 0)
    return [builder.record(answer) for answer in answers], builder


@pytest.mark.parametrize("output", [0, 5, 5 * 10**9, 2**53])
def test_the_tokenizer_counts_where_the_server_cannot_be_right(output: int) -> None:
    (record,), builder = built(answer(output, "abc"))
    assert (record.output_tokens, record.finish) == (3, "eos")
    assert builder.counts["answers_counted_by_tokenizer"] == 1
    assert builder.counts["answers_with_impossible_usage"] == 1
    assert builder.excess == []


def test_a_possible_count_of_the_server_is_used() -> None:
    (record,), builder = built(answer(4, "abc"))
    assert (record.output_tokens, record.finish) == (4, "length")
    assert builder.counts["answers_counted_by_server"] == 1
    assert builder.counts["answers_with_impossible_usage"] == 0


def test_a_record_has_what_the_server_says_of_its_response() -> None:
    facts = ServerFacts(response_id="cmpl-1", reasoning_tokens=3, server_queue_seconds=0.25)
    (record,), _ = built(answer(4, "abcd", facts=facts))
    assert (record.response_id, record.reasoning_tokens) == ("cmpl-1", 3)
    assert (record.server_queue_seconds, record.server_ttft_seconds) == (0.25, None)


def test_an_impossible_number_of_prompt_tokens_is_counted_by_the_tokenizer() -> None:
    odd = answer(4, "abcd")
    odd.reported.prompt = 5 * 10**9
    (record,), builder = built(odd)
    assert record.prompt_tokens == 3
    assert builder.counts["answers_with_impossible_usage"] == 1


@pytest.mark.parametrize("output", [6, None])
def test_a_response_of_more_chunks_than_requested_tokens_is_longer(output: int | None) -> None:
    (record,), builder = built(answer(output, "abcdef"))
    assert (record.output_tokens, builder.excess) == (6, [(6, 4)])


def test_a_server_and_a_tokenizer_that_agree_are_right_about_a_longer_response() -> None:
    odd = answer(7, "ab")
    odd.texts = ["a b c ", "d e f"]
    (record,), builder = built(odd)
    assert (record.output_tokens, builder.excess) == (7, [(7, 4)])
    assert builder.counts["answers_with_impossible_usage"] == 0


def test_a_tokenizer_that_counts_more_than_the_server_does_not_make_a_response_longer() -> None:
    odd = answer(None, "ab")
    odd.texts = ["a b c ", "d e f"]
    assert built(odd)[1].excess == []


def test_a_response_without_a_requested_length_is_never_longer() -> None:
    (record,), builder = built(answer(6, "abcdef", limits_length=False))
    assert (record.output_tokens, builder.excess) == (6, [])


def test_other_choices_are_counted() -> None:
    assert (
        built(answer(3, "abc", has_more_choices=True))[1].counts["answers_with_more_choices"] == 1
    )


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_a_response_that_its_server_aborted_has_failed(reason: str) -> None:
    (record,), _ = built(answer(3, "abc", finish_reason=reason))
    assert (record.finish, record.error_kind) == ("error", "server-error")


@given(
    output=st.none() | st.integers(0, 2**53),
    texts=st.text("abc", max_size=12),
    decreased=st.booleans(),
)
def test_the_tokens_of_a_record_are_bounded_by_the_request_or_the_text(
    output: int | None, texts: str, *, decreased: bool
) -> None:
    odd = answer(output, texts)
    odd.reported.decreased = decreased
    (record,), _ = built(odd)
    assert record.output_tokens <= max(4, len(texts))
    assert (record.output_tokens > 0) == bool(texts)
