"""Finished answers leave the memory of the client and come back after the load as they were."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.endpoint import answer_log
from llmbench.backends.endpoint.answer import Answer, Fault
from llmbench.backends.endpoint.answer_log import AnswerLog, LoggedAnswers
from llmbench.backends.endpoint.reported_tokens import ReportedTokens
from llmbench.backends.endpoint.server_facts import ServerFacts
from llmbench.loads.dispatch import RequestCycle
from llmbench.runs.request import Request, Turn

POOL = [Request(number, (1, 2), 4, text=f"tell me about {number}") for number in range(3)]

floats = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
counts = st.none() | st.integers(0, 2**53)
optional = st.none() | floats
faults = st.none() | st.builds(Fault, texts, texts)
answers = st.builds(
    Answer,
    st.sampled_from(POOL),
    due=floats,
    begun=floats,
    connect_seconds=optional,
    retries=st.integers(0, 9),
    server=st.integers(0, 9),
    stamps=st.lists(floats, max_size=5),
    texts=st.lists(texts, max_size=5),
    first_lag=optional,
    last_lag=optional,
    first_content=optional,
    reported=st.builds(ReportedTokens, counts, counts, counts, st.booleans()),
    facts=st.builds(
        ServerFacts, st.none() | texts, counts, server_queue_seconds=st.none() | floats
    ),
    limits_length=st.booleans(),
    has_more_choices=st.booleans(),
    abandoned_at=optional,
    finish_reason=st.none() | texts,
    fault=faults,
    reasoning_chunks=st.integers(0, 5),
    calls=st.lists(st.tuples(st.integers(-1, 5), texts), max_size=2),
)


def fields(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in Answer.__slots__}


def logged(*added: Answer) -> AnswerLog:
    log = AnswerLog()
    for answer in added:
        log.add(answer)
    log.close()
    return log


def numbered(count: int) -> list[Answer]:
    requests = RequestCycle(POOL)
    return [Answer(request, 0.0) for request, _ in zip(requests, range(count), strict=False)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a log's file, which gets a chunk for each answer."""
    monkeypatch.setattr(answer_log, "CHUNK_BYTES", 1)
    monkeypatch.setattr(answer_log, "FOLDER", str(tmp_path))
    return tmp_path


@given(answers)
def test_an_answer_comes_back_with_every_field(answer: Answer) -> None:
    (read,) = LoggedAnswers([logged(answer)], POOL)
    assert fields(read) == fields(answer)


def test_answers_come_back_in_their_order_with_the_requests_of_a_pool_that_is_reused() -> None:
    added = numbered(7)
    shuffled = [added[index] for index in (1, 0, 5, 2, 6, 3, 4)]
    read = list(LoggedAnswers([logged(*shuffled)], RequestCycle(POOL)))
    assert [answer.request for answer in read] == [answer.request for answer in shuffled]


def test_a_request_keeps_the_phase_in_which_it_was_sent() -> None:
    answer = Answer(replace(POOL[0], phase="warmup"), 0.0)
    (read,) = LoggedAnswers([logged(answer)], POOL)
    assert read.request == answer.request


def test_the_times_of_numpy_are_logged_as_plain_numbers() -> None:
    (read,) = LoggedAnswers([logged(Answer(POOL[0], np.float64(1.5)))], POOL)
    assert type(read.due) is float
    assert read.due == 1.5


def test_a_later_turn_continues_the_response_before_it_without_its_reasoning() -> None:
    turns = (Turn((3,), 4, 0.5, text="why?"), Turn((5,), 4, 0.5, text="how?"))
    first = Request(0, (1,), 4, text="hi", session=0, turns=turns)
    said = Answer(first, 0.0, texts=["hm ", "hello ", "you"], reasoning_chunks=1)
    second = Answer(first.next_turn(1, (), "hello you"), 1.0, texts=["so"])
    third = Answer(second.request.next_turn(2, (), "so"), 2.0)
    read = list(LoggedAnswers([logged(said, second, third)], RequestCycle([first])))
    assert [answer.request for answer in read] == [first, second.request, third.request]


def test_a_later_turn_of_its_own_has_no_history() -> None:
    turns = (Turn((3,), 4, 0.5, text="again", parents=(0,), is_fresh=True),)
    first = Request(0, (1,), 4, text="hi", session=0, turns=turns, parents=())
    added = [Answer(first, 0.0), Answer(first.fresh_turn(1), 1.0)]
    read = list(LoggedAnswers([logged(*added)], RequestCycle([first])))
    assert [answer.request for answer in read] == [first, first.fresh_turn(1)]


def test_complete_chunks_are_in_a_file_without_a_name(folder: Path) -> None:
    log = logged(*numbered(5))
    assert log.held_bytes == 0
    assert len(list(log.chunks())) == 5
    assert list(folder.iterdir()) == []
    read = LoggedAnswers([log], RequestCycle(POOL))
    assert [answer.request.id for answer in read] == [0, 1, 2, 3, 4]
    assert [answer.request.id for answer in read] == [0, 1, 2, 3, 4]


def test_answers_stay_in_memory_if_they_cannot_be_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer_log, "FOLDER", str(folder / "missing"))
    log = logged(*numbered(3))
    assert log.held_bytes > 0
    assert [a.request.id for a in LoggedAnswers([log], RequestCycle(POOL))] == [0, 1, 2]


def test_answers_that_follow_a_failed_write_keep_their_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.pwrite, []

    def full_for_a_while(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", full_for_a_while)
    log = logged(*numbered(4))
    assert [a.request.id for a in LoggedAnswers([log], RequestCycle(POOL))] == [0, 1, 2, 3]
    assert folder.exists()


@pytest.mark.usefixtures("folder")
def test_another_log_gets_the_chunks_of_a_log() -> None:
    copy = AnswerLog()
    for chunk in logged(*numbered(4)).chunks():
        copy.extend(chunk)
    assert [a.request.id for a in LoggedAnswers([copy], RequestCycle(POOL))] == [0, 1, 2, 3]


def test_lags_are_known_without_reading_the_answers() -> None:
    answer = Answer(POOL[0], 1.0, begun=1.25, stamps=[2.25, 3.0])
    log = logged(answer, Answer(POOL[1], 2.0, begun=2.5))
    assert list(log.send_lags) == [0.25, 0.5]
    assert list(log.ttfts) == [1.0]
