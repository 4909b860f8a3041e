"""A dispatch that another process fills, over real pipes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from llmbench.backends.replicas.messages import END, Due, News, Order
from llmbench.backends.replicas.remote_dispatch import Inbox, RemoteDispatch
from llmbench.environment.child_process import Channel
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Record
from llmbench.runs.request import Request

OUTCOME = RequestOutcome(token_times=(1.0, 2.0), tokens=2, answer_ids=(5, 6), answer_text="ab")


class Ends:
    """Both ends of the pipes between a balancing process and a replica."""

    def __init__(self) -> None:
        (there, self.close_at), (here, back) = os.pipe(), os.pipe()
        self.balancer, self.inbox = Channel(here, self.close_at), Inbox(Channel(there, back))
        self.arrived = threading.Semaphore(0)
        self.inbox.on_more = self.arrived.release
        self.dispatch = RemoteDispatch(self.inbox)
        self.dispatch.on_more = self.arrived.release
        self.inbox.start()

    def order(self, order: Order) -> None:
        self.balancer.send(order)
        self.arrived.acquire()

    def request(self, number: int, *, wants_answer: bool = False) -> None:
        due = Due(Request(number, (1, 2), 2), 0.5, wants_answer)
        self.order(Order(due=due))


@pytest.fixture
def ends() -> Iterator[Ends]:
    opened = Ends()
    yield opened
    os.close(opened.close_at)


def record(number: int) -> Record:
    request = Request(number, (1, 2), 2)
    return Record.of(request, 0.5, 0.6, "length", token_times=(1.0, 2.0), token_counts=(1, 1))


def test_a_request_is_due_when_it_arrives(ends: Ends) -> None:
    assert ends.dispatch.take_due(0.0) == []
    ends.request(3)
    assert ends.dispatch.take_due(0.0) == [(Request(3, (1, 2), 2), 0.5)]
    assert ends.dispatch.next_due() is None
    assert not ends.dispatch.finished


def test_it_ends_after_the_last_request_has_finished(ends: Ends) -> None:
    ends.request(0)
    ends.order(END)
    ends.dispatch.take_due(0.0)
    assert not ends.dispatch.finished
    ends.dispatch.finish(0, 2.0)
    assert ends.dispatch.finished


def test_an_outcome_is_reported_with_its_record_and_without_its_answer(ends: Ends) -> None:
    ends.request(0)
    ends.dispatch.take_due(0.0)
    ends.dispatch.finish(0, 2.0, OUTCOME)
    ends.dispatch.recorded(record(0))
    ends.dispatch.flush()
    (finished,) = ends.balancer.receive(News).finished
    assert (finished.request_id, finished.at, finished.record) == (0, 2.0, record(0))
    assert (finished.outcome.tokens, list(finished.outcome.answer_ids)) == (2, [])
    assert list(finished.outcome.token_times) == []  # the record has them


def test_the_answer_is_reported_if_the_dispatch_needs_it(ends: Ends) -> None:
    ends.request(0, wants_answer=True)
    ends.dispatch.take_due(0.0)
    ends.dispatch.finish(0, 2.0, OUTCOME)
    ends.dispatch.flush()
    (finished,) = ends.balancer.receive(News).finished
    assert list(finished.outcome.answer_ids) == [5, 6]
    assert finished.record is None


def test_records_that_were_not_reported_are_left_for_the_end(ends: Ends) -> None:
    for number in (0, 1):
        ends.request(number)
    ends.dispatch.take_due(0.0)
    ends.dispatch.finish(0, 2.0, OUTCOME)
    ends.dispatch.recorded(record(0))
    assert ends.dispatch.unreported([record(0), record(1)]) == (record(1),)


def test_loads_follow_each_other_until_the_channel_closes() -> None:
    ends = Ends()
    ends.order(Order(origin=4.0))
    loads = ends.inbox.loads()
    assert next(loads).origin == 4.0
    ends.request(0)
    ends.dispatch.take_due(0.0)
    os.close(ends.close_at)
    ends.arrived.acquire()
    ends.dispatch.take_due(0.0)
    ends.dispatch.finish(0, 1.0)
    assert ends.dispatch.finished
    assert list(loads) == []
