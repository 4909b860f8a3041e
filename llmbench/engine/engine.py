"""The synchronous loop that serves a dispatch's requests on a model runner.

An iteration queues the due requests, runs one prefill or decode step and timestamps its tokens with
one clock reading. The engine handles token ids only; it uses neither text nor torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from typing import Protocol

from llmbench.engine.scheduler import ContinuousScheduler, StaticScheduler
from llmbench.engine.sequence import Sequence
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch, RequestOutcome
from llmbench.runs.record import Record

SCHEDULERS = {"continuous": ContinuousScheduler, "static": StaticScheduler}


class ModelRunner(Protocol):
    """The interface of a local backend: prefill and decode steps over a KV cache with slots.

    Both return token ids on the host, so that a timestamp taken afterwards is valid. A decode step
    returns a chunk of at least one token per slot.
    """

    def prefill(self, slot: int, prompt: SequenceOf[int]) -> int:
        """Run a prompt, fill the slot's KV cache and return the first output token."""

    def decode(self, slots: SequenceOf[int]) -> SequenceOf[SequenceOf[int]]:
        """Run one decode step and return each slot's next tokens, in the given order."""


class Engine:
    """Serves requests on a runner, one step at a time.

    The token ids ``stop_ids`` end a sequence early; by default there are none, so that output
    lengths are fixed. ``on_progress`` is called after each step that finished a request.
    """

    def __init__(
        self,
        runner: ModelRunner,
        clock: Clock,
        *,
        slots: int,
        batching: str = "continuous",
        stop_ids: frozenset[int] = frozenset(),
        keep_outputs: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._clock = clock
        self._scheduler = SCHEDULERS[batching](slots)
        self._stop_ids = stop_ids
        self._keep_outputs = keep_outputs
        self._on_progress = on_progress
        self._first_token: Callable[[int], None] = lambda _: None
        self._more = threading.Event()

    def serve(self, dispatch: Dispatch) -> list[Record]:
        """Serve all requests of a dispatch; return their records in order of completion."""
        records: list[Record] = []
        self._first_token, dispatch.on_more = dispatch.first_token, self._more.set
        while not dispatch.finished:
            self._admit(dispatch)
            if self._scheduler.is_idle:
                self._wait(dispatch)
            elif finished := self.step():
                records += [self._finish(sequence, dispatch) for sequence in finished]
                self._on_progress()
        return records

    def step(self) -> list[Sequence]:
        """Run one prefill or one decode step and return the sequences that it finished."""
        joining = self._scheduler.next_to_prefill()
        return self._prefill(joining) if joining else self._decode()

    def _admit(self, dispatch: Dispatch) -> None:
        now = self._clock.now()
        for request, due in dispatch.take_due(now):
            self._scheduler.add(Sequence(request, due, sent=now, stop_ids=self._stop_ids))

    def _wait(self, dispatch: Dispatch) -> None:
        due = dispatch.next_due()
        if due is None:
            self._more.wait()  # no due time is known: another thread issues the requests
            self._more.clear()
        else:
            self._clock.sleep_until(due)

    def _prefill(self, sequence: Sequence) -> list[Sequence]:
        assert sequence.slot is not None  # noqa: S101 (assigned by the scheduler)
        sequence.started = self._clock.now()
        token = self._runner.prefill(sequence.slot, sequence.request.prompt)
        finished = self._timestamp([sequence], [[token]])
        self._first_token(sequence.request.id)
        return finished

    def _decode(self) -> list[Sequence]:
        running = self._scheduler.running
        slots = sorted(running)
        return self._timestamp([running[slot] for slot in slots], self._runner.decode(slots))

    def _timestamp(
        self, sequences: list[Sequence], chunks: SequenceOf[SequenceOf[int]]
    ) -> list[Sequence]:
        now = self._clock.now()
        for sequence, chunk in zip(sequences, chunks, strict=True):
            sequence.extend(chunk, now)
        finished = [sequence for sequence in sequences if sequence.is_finished]
        for sequence in finished:
            self._scheduler.retire(sequence)
        return finished

    def _finish(self, sequence: Sequence, dispatch: Dispatch) -> Record:
        times = sequence.token_times
        ids = sequence.output_ids
        outcome = RequestOutcome(
            first_token=times[0], token_times=times, tokens=len(ids), answer_ids=ids
        )
        dispatch.finish(sequence.request.id, times[-1], outcome)
        return sequence.record(keep_outputs=self._keep_outputs)
