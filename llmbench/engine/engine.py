"""The synchronous loop that serves a dispatch's requests on a model runner.

An iteration queues the due requests, runs one prefill or decode step and timestamps its tokens with
one clock reading. The engine handles token ids only; it uses neither text nor torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import inf
from typing import Protocol, runtime_checkable

from llmbench.engine.queues import WaitingQueue
from llmbench.engine.scheduler import ContinuousScheduler, PrefillBudget, StaticScheduler
from llmbench.engine.sequence import ImpatientSequence, Sequence
from llmbench.engine.step_log import StepLog
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch
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


@runtime_checkable
class BatchRunner(ModelRunner, Protocol):
    """A model runner that can prefill several prompts in one step."""

    def prefill_batch(
        self, slots: SequenceOf[int], prompts: SequenceOf[SequenceOf[int]]
    ) -> SequenceOf[int]:
        """Run several prompts, each in its slot, and return the first output token of each."""

    def computed_tokens(self, prompts: SequenceOf[int]) -> float:
        """Return the tokens that a step computes for prompts of these lengths, with padding.

        Infinity if one step cannot run them.
        """


@dataclass(frozen=True, slots=True)
class OneByOne:
    """A runner that prefills each prompt in a step of its own."""

    runner: ModelRunner

    def prefill(self, slot: int, prompt: SequenceOf[int]) -> int:
        """Run the wrapped runner's prefill."""
        return self.runner.prefill(slot, prompt)

    def decode(self, slots: SequenceOf[int]) -> SequenceOf[SequenceOf[int]]:
        """Run the wrapped runner's decode step."""
        return self.runner.decode(slots)

    def prefill_batch(
        self, slots: SequenceOf[int], prompts: SequenceOf[SequenceOf[int]]
    ) -> list[int]:
        """Run one prefill per prompt."""
        return [self.prefill(*joining) for joining in zip(slots, prompts, strict=True)]

    def computed_tokens(self, prompts: SequenceOf[int]) -> float:
        """Return the length of a single prompt, and infinity for several."""
        return prompts[0] if len(prompts) == 1 else inf


def batched(runner: ModelRunner) -> BatchRunner:
    """Return the runner if it prefills several prompts in one step, else one that never has to."""
    return runner if isinstance(runner, BatchRunner) else OneByOne(runner)


class Engine:
    """Serves requests on a runner, one step at a time.

    The token ids ``stop_ids`` end a sequence early; by default there are none, so that output
    lengths are fixed. A prefill step runs the first waiting prompts that have at most
    ``prefill_tokens`` in total, or one longer prompt; by default, each step runs one prompt.
    ``queue`` is the policy of the waiting requests, by default first come, first served. A request
    that arrives when ``max_queue`` requests wait is rejected; those that run have at most
    ``kv_tokens`` tokens together, with the output that they ask for.
    ``on_progress`` is called after each step that finished a request. ``step_log`` has where the
    time of the last load went.
    """

    def __init__(
        self,
        runner: ModelRunner,
        clock: Clock,
        *,
        slots: int,
        batching: str = "continuous",
        prefill_tokens: int = 1,
        queue: WaitingQueue | None = None,
        max_queue: int | None = None,
        kv_tokens: int | None = None,
        stop_ids: frozenset[int] = frozenset(),
        keep_outputs: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = batched(runner)
        self._clock = clock
        budget = PrefillBudget(prefill_tokens, self._runner.computed_tokens)
        self._scheduler = SCHEDULERS[batching](
            slots, budget, queue, max_queue=max_queue, kv_tokens=kv_tokens
        )
        self._stop_ids = stop_ids
        self._keep_outputs = keep_outputs
        self._on_progress = on_progress
        self._first_token: Callable[[int], None] = lambda _: None
        self._more = threading.Event()
        self._impatient: list[ImpatientSequence] = []
        self.step_log = StepLog(0.0)

    def serve(self, dispatch: Dispatch) -> list[Record]:
        """Serve all requests of a dispatch; return their records in order of completion."""
        records: list[Record] = []
        self.step_log = StepLog(self._clock.now())
        self._first_token, dispatch.on_more = dispatch.first_token, self._more.set
        while not dispatch.finished:
            now = self._clock.now()
            finished = self._admit(dispatch, now)
            if not self._scheduler.is_idle:
                finished += self._withdrawn(now) or self.step(now)
            elif not finished:
                self._wait(dispatch)
            if finished:
                records += [self._finish(sequence, dispatch) for sequence in finished]
                self._on_progress()
        return records

    def step(self, now: float) -> list[Sequence]:
        """Run one prefill or one decode step and return the sequences that it finished."""
        joining = self._scheduler.next_to_prefill(now)
        return self._prefill(joining, now) if joining else self._decode()

    def _admit(self, dispatch: Dispatch, now: float) -> list[Sequence]:
        """Queue the due requests; return those that find the queue full."""
        rejected: list[Sequence] = []
        for request, due in dispatch.take_due(now):
            kind = ImpatientSequence if request.patience else Sequence
            sequence = kind(request, due, sent=now, stop_ids=self._stop_ids)
            if self._scheduler.is_full(sequence, now):
                sequence.is_rejected = True
                rejected.append(sequence)
                continue
            if isinstance(sequence, ImpatientSequence):
                self._impatient.append(sequence)
            self._scheduler.add(sequence, now)
        return rejected

    def _withdrawn(self, now: float) -> list[Sequence]:
        """Remove and return the waiting sequences whose users have given up.

        A running one leaves its slot at the end of the step in which its user gives up.
        """
        if not self._impatient:
            return []
        waiting = [sequence for sequence in self._impatient if sequence.slot is None]
        withdrawn: list[Sequence] = [sequence for sequence in waiting if sequence.give_up_by(now)]
        self._impatient = [sequence for sequence in self._impatient if not sequence.is_finished]
        for sequence in withdrawn:
            self._scheduler.withdraw(sequence)
        return withdrawn

    def _wait(self, dispatch: Dispatch) -> None:
        due = dispatch.next_due()
        if due is not None:
            self._clock.sleep_until(due)
        elif not dispatch.finished:
            self._more.wait()  # no due time is known: another thread issues the requests
            self._more.clear()
        self.step_log.note("idle", self._clock.now())

    def _prefill(self, joining: list[Sequence], now: float) -> list[Sequence]:
        new = [sequence for sequence in joining if sequence.started is None]
        for sequence in new:
            sequence.started = now
        chunks = [[token] for token in self._next_tokens(joining)]
        finished = self._timestamp("prefill", joining, chunks)
        for sequence in new:
            self._first_token(sequence.request.id)
        return finished

    def _next_tokens(self, joining: list[Sequence]) -> SequenceOf[int]:
        slots = [sequence.slot for sequence in joining if sequence.slot is not None]
        prompts = [sequence.context for sequence in joining]
        if len(joining) == 1:
            return [self._runner.prefill(slots[0], prompts[0])]
        return self._runner.prefill_batch(slots, prompts)

    def _decode(self) -> list[Sequence]:
        running = self._scheduler.running
        slots = sorted(running)
        sequences = [running[slot] for slot in slots]
        self.step_log.decoded_sequences += len(slots)
        return self._timestamp("decode", sequences, self._runner.decode(slots))

    def _timestamp(
        self, activity: str, sequences: list[Sequence], chunks: SequenceOf[SequenceOf[int]]
    ) -> list[Sequence]:
        now = self._clock.now()
        self.step_log.note(activity, now)
        for sequence, chunk in zip(sequences, chunks, strict=True):
            sequence.extend(chunk, now)
        self._scheduler.generated(sequences, chunks, now)
        finished = [sequence for sequence in sequences if sequence.is_finished]
        for sequence in finished:
            self._scheduler.retire(sequence)
        return finished

    def _finish(self, sequence: Sequence, dispatch: Dispatch) -> Record:
        dispatch.finish(sequence.request.id, sequence.ended_at, sequence.outcome)
        return sequence.record(keep_outputs=self._keep_outputs)
