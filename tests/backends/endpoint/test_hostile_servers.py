"""Servers that send anything: each request has one exact outcome, in time, and none is lost."""

from __future__ import annotations

import pytest
from hostile_servers import BEHAVIORS, loaded

from llmbench import models
from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background
from llmbench.backends.endpoint.conformance.suite import TIMEOUT_KINDS
from llmbench.backends.endpoint.conformance.wire import Behavior
from llmbench.backends.endpoint.record_builder import RecordBuilder
from llmbench.runs.record import Record
from llmbench.testing import open_context

TOKENS = 8
LATE = [name for name, behavior in BEHAVIORS.items() if behavior.error in TIMEOUT_KINDS]


@pytest.fixture(scope="module")
def answers() -> dict[str, Answer]:
    """The answers to one request for each behavior, by its name."""
    with (
        pytest.MonkeyPatch.context() as patch,
        in_background(AdversarialServer(behaviors=BEHAVIORS)) as server,
    ):
        patch.setattr(limits, "RESPONSE_BYTES", 3 * 2**19)
        patch.setattr(limits, "EVENTS", 20_000)
        patch.setattr(limits, "TEXT_LENGTH", 2**16)
        prompt = loaded(server.url, [name for name in BEHAVIORS if name not in LATE])
        late = loaded(server.url, LATE, first_token_timeout=0.5, total_timeout=1.0)
    everything = [*prompt.answers, *late.answers]
    assert len(everything) == len(BEHAVIORS)
    return {str(answer.request.text): answer for answer in everything}


@pytest.fixture(scope="module")
def records(answers: dict[str, Answer]) -> dict[str, Record]:
    context = open_context("served:")
    builder = RecordBuilder(context, models.load_tokenizer(context.model), 0)
    return {name: builder.record(answer) for name, answer in answers.items()}


def test_there_are_a_hundred_behaviors() -> None:
    assert len(BEHAVIORS) >= 100


@pytest.mark.parametrize("behavior", BEHAVIORS.values(), ids=BEHAVIORS.keys())
def test_the_outcome_is_exact(behavior: Behavior, records: dict[str, Record]) -> None:
    record = records[behavior.name]
    chunks = len(record.token_times) if behavior.chunks >= 0 else behavior.chunks
    assert (record.error_kind, chunks) == (behavior.error, behavior.chunks), record.error_message


def test_no_stored_message_is_long_or_unprintable(records: dict[str, Record]) -> None:
    messages = [record.error_message or "" for record in records.values()]
    assert max(len(message.encode()) for message in messages) <= limits.MESSAGE_BYTES
    assert all("".join(message.split("\n")).isprintable() for message in messages)


def test_a_complete_answer_has_all_its_tokens(records: dict[str, Record]) -> None:
    complete = [record for record in records.values() if record.succeeded]
    assert {record.output_tokens for record in complete} == {TOKENS}


def test_a_compressed_answer_is_named_as_such(records: dict[str, Record]) -> None:
    for name in ("gzip", "undeclared-gzip", "gzip-split", "deflate", "brotli", "zstd"):
        assert "compressed answers are not read" in (records[name].error_message or "")


def test_a_web_page_is_named_with_its_type_and_title(records: dict[str, Record]) -> None:
    message = records["web-page"].error_message or ""
    assert "(text/html)" in message
    assert "502 Bad Gateway" in message


def test_a_connection_is_not_reused_after_bytes_that_nobody_requested() -> None:
    with in_background(AdversarialServer(behaviors=BEHAVIORS)) as server:
        served = loaded(server.url, ["two-responses", "plain-text-type"] * 3, users=1)
    assert [len(answer.stamps) for answer in served.answers] == [TOKENS] * 6
    assert served.counts["connections"] == 4  # the second of each pair opens one
