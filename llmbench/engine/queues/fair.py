"""Fair shares: a virtual token counter per client."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from collections.abc import Sequence as SequenceOf

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.queues.removable_heap import RemovableHeap
from llmbench.engine.sequence import Sequence

ClientOf = Callable[[Sequence], Hashable]


def session_of(sequence: Sequence) -> Hashable:
    """Return a request's session; a request outside sessions is one of its own."""
    request = sequence.request
    return ("request", request.id) if request.session is None else request.session


def class_of(sequence: Sequence) -> str:
    """Return a request's class; requests without one share the class of no name."""
    return sequence.request.request_class or ""


class Fair(WaitingQueue):
    """The sequences of the client that was served least come first, in the order of their arrival.

    A client's counter is the service that it has received: ``admission(s)`` for each sequence s
    that got a slot, and ``per_token`` for each output token. A client that begins to wait is lifted
    to the lowest counter of those that wait, or if none does, to that of the last one that did: so
    it cannot save up service while it asks for none.

    With admission(s) = w_p × prompt tokens and per_token = w_q, this is the virtual token counter:
    Sheng et al., Fairness in Serving Large Language Models, OSDI 2024, Algorithm 2.
    """

    def __init__(
        self, client: ClientOf, admission: Callable[[Sequence], float], per_token: float = 0.0
    ) -> None:
        self._client = client
        self._admission = admission
        self._per_token = per_token
        self._counters: dict[Hashable, float] = {}
        self._queues: dict[Hashable, OrderedDict[int, Sequence]] = {}
        self._order: RemovableHeap[Hashable, Hashable] = RemovableHeap()
        self._left: Hashable = None
        self._count = 0

    def __len__(self) -> int:
        """Return the number of waiting sequences."""
        return self._count

    def add(self, sequence: Sequence, now: float) -> None:
        """Add a sequence; lift its client's counter if it had none waiting."""
        del now
        client = self._client(sequence)
        if client not in self._queues:
            self._lift(client)
            self._queues[client] = OrderedDict()
            self._order.push(client, client, self._counters[client])
        self._queues[client][sequence.request.id] = sequence
        self._count += 1

    def _lift(self, client: Hashable) -> None:
        behind = self._order.first() if self._queues else self._left
        lowest = self._counters.get(behind, 0.0)
        self._counters[client] = max(self._counters.get(client, 0.0), lowest)

    def next(self, now: float) -> Sequence:
        """Return the first sequence of the client with the lowest counter.

        Raises LookupError if none waits.
        """
        del now
        return next(iter(self._queues[self._order.first()].values()))

    def take(self, sequence: Sequence) -> None:
        """Remove a sequence, which gets a slot, and charge its client for it."""
        client = self._client(sequence)
        self._remove(client, sequence)
        self._charge(client, self._admission(sequence))

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that is withdrawn."""
        self._remove(self._client(sequence), sequence)

    def _remove(self, client: Hashable, sequence: Sequence) -> None:
        queue = self._queues[client]
        del queue[sequence.request.id]
        self._count -= 1
        if not queue:
            del self._queues[client]
            self._order.remove(client)
            self._left = client

    def generated(
        self, sequences: SequenceOf[Sequence], chunks: SequenceOf[SequenceOf[int]]
    ) -> None:
        """Charge the clients of sequences for the tokens of a step."""
        if self._per_token:
            for sequence, chunk in zip(sequences, chunks, strict=True):
                self._charge(self._client(sequence), self._per_token * len(chunk))

    def _charge(self, client: Hashable, service: float) -> None:
        self._counters[client] += service
        if client in self._queues:
            self._order.push(client, client, self._counters[client])
