"""The dispatch of a replica, which another process fills and which reports back to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from queue import SimpleQueue

import numpy as np

from llmbench.backends.replicas.messages import Due, Finished, News, Order
from llmbench.environment.child_process import Channel
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import ANSWERED, Dispatch, RequestOutcome
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request


@dataclass(slots=True)
class Inbox:
    """Receives the orders of the balancing process in a thread, so that it never waits for a step.

    ``on_more`` is called for each. The last order is None: no load follows.
    """

    channel: Channel
    orders: SimpleQueue[Order | None] = field(default_factory=SimpleQueue)
    on_more: Callable[[], object] | None = None

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._receive, daemon=True).start()

    def loads(self) -> Iterator[MonotonicClock]:
        """Yield the clock of each load when it begins."""
        while order := self.orders.get():
            if order.origin is not None:
                yield MonotonicClock(order.origin)

    def ended(self, order: Order | None) -> None:
        """Note the order that ended a load, which may have been the last one."""
        if order is None:
            self.orders.put(None)

    def _receive(self) -> None:
        order: Order | None = None
        try:
            while True:
                order = self.channel.receive(Order)
                self._put(order)
        except EOFError:
            self._put(None)

    def _put(self, order: Order | None) -> None:
        self.orders.put(order)
        if on_more := self.on_more:
            on_more()


class RemoteDispatch(Dispatch):
    """A dispatch of requests that are due when they arrive, until their end is announced.

    Finished requests are reported when `flush` is called.
    """

    def __init__(self, inbox: Inbox) -> None:
        super().__init__((), Scheduled(np.empty(0)), Stop())
        self._inbox = inbox
        self._is_over = False
        self._wanted: dict[int, Due] = {}
        self._finished: dict[int, Finished] = {}
        self._reported: set[int] = set()

    @property
    def finished(self) -> bool:
        """Whether no request follows and all have finished."""
        return self._is_over and not self._wanted

    def next_due(self) -> float | None:
        """Return None: requests are due when they arrive."""
        return None

    def take_due(self, now: float) -> list[tuple[Request, float]]:  # noqa: ARG002 (what arrived is due)
        """Return the requests that have arrived, with their due times."""
        self._inbox.on_more = self.on_more
        taken = []
        while not self._inbox.orders.empty():
            order = self._inbox.orders.get()
            if order is None or order.due is None:
                self._is_over = True
                self._inbox.ended(order)
                break
            self._wanted[order.due.request.id] = order.due
            taken.append((order.due.request, order.due.due))
        return taken

    def finish(self, request_id: int, now: float, outcome: RequestOutcome = ANSWERED) -> None:
        """Note the outcome of a request; raise KeyError when it is not in flight."""
        if not self._wanted.pop(request_id).wants_answer:
            outcome = replace(outcome, answer_ids=(), answer_text="")
        self._finished[request_id] = Finished(request_id, now, outcome, None)

    def recorded(self, record: Record) -> None:
        """Note the record of a request, to be reported with its outcome."""
        finished = self._finished[record.request_id]
        outcome = replace(finished.outcome, token_times=())
        self._finished[record.request_id] = Finished(
            finished.request_id, finished.at, outcome, record
        )
        self._reported.add(record.request_id)

    def flush(self) -> None:
        """Report the requests that have finished since the last call."""
        finished, self._finished = tuple(self._finished.values()), {}
        if finished:
            self._inbox.channel.send(News(finished=finished))

    def unreported(self, records: list[Record]) -> tuple[Record, ...]:
        """Return the records of a load that were not reported with their requests."""
        return tuple(record for record in records if record.request_id not in self._reported)
