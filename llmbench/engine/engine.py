"""The synchronous loop that serves a dispatch's requests on a model runner.

An iteration queues the due requests, runs one prefill or decode step and timestamps its tokens with
one clock reading. The engine handles token ids only; it uses neither text nor torch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from math import inf
from typing import Protocol, Self, runtime_checkable

from llmbench.engine.prefixes import CopyingRunner, PrefixCache
from llmbench.engine.queues import WaitingQueue, queue_of
from llmbench.engine.scheduler import (
    NO_PREFIXES,
    ContinuousScheduler,
    DynamicScheduler,
    PrefillBudget,
    Span,
    StaticScheduler,
)
from llmbench.engine.sequence import ImpatientSequence, Sequence
from llmbench.engine.step_log import StepLog
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.record import Record
from llmbench.scenario.schema import EngineOptions

SCHEDULERS = {
    "continuous": ContinuousScheduler,
    "static": StaticScheduler,
    "dynamic": DynamicScheduler,
}


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


@runtime_checkable
class ChunkRunner(BatchRunner, CopyingRunner, Protocol):
    """A model runner that can prefill a prompt in chunks, and copy cached tokens between slots."""

    def prefill_chunks(
        self, slots: SequenceOf[int], chunks: SequenceOf[SequenceOf[int]], starts: SequenceOf[int]
    ) -> SequenceOf[int]:
        """Run chunks of prompts, each behind the first ``starts`` tokens that its slot has cached.

        Return the token after each chunk, which is the first output token at the end of a prompt.
        """

    def computed_chunks(self, chunks: SequenceOf[int], starts: SequenceOf[int]) -> float:
        """Return the tokens that a step computes for chunks of these lengths, with padding.

        Infinity if one step cannot run them behind ``starts`` cached tokens.
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


def computed_spans(runner: BatchRunner) -> Callable[[SequenceOf[Span]], float]:
    """Return the function of the tokens that a runner's prefill step computes for chunks."""
    if isinstance(runner, ChunkRunner):
        return lambda spans: runner.computed_chunks(*zip(*spans, strict=True))
    return lambda spans: runner.computed_tokens([span.length for span in spans])


class Engine:
    """Serves requests on a runner, one step at a time.

    The token ids ``stop_ids`` end a sequence early; by default there are none, so that output
    lengths are fixed. A prefill step runs the first waiting prompts that have at most
    ``prefill_tokens`` in total, or one longer prompt; by default, each step runs one prompt. With
    ``prefill_chunk``, no step runs more prompt tokens than that, and with ``prefix_cache``, prompts
    reuse the tokens that slots hold; both need a ChunkRunner. ``batch_wait`` is the maximum wait of
    dynamic batching, in seconds.
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
        prefill_chunk: int | None = None,
        prefix_cache: bool = False,
        batch_wait: float = 0.0,
        queue: WaitingQueue | None = None,
        max_queue: int | None = None,
        kv_tokens: int | None = None,
        stop_ids: frozenset[int] = frozenset(),
        keep_outputs: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = batched(runner)
        self._chunk_runner = runner if isinstance(runner, ChunkRunner) else None
        self._clock = clock
        budget = PrefillBudget(
            min(prefill_tokens, prefill_chunk or prefill_tokens),
            computed_spans(self._runner),
            prefill_chunk,
        )
        self._scheduler = SCHEDULERS[batching](
            slots,
            budget,
            queue,
            prefixes=PrefixCache(slots) if prefix_cache else NO_PREFIXES,
            max_queue=max_queue,
            kv_tokens=kv_tokens,
            batch_wait=batch_wait,
        )
        self._stop_ids = stop_ids
        self._keep_outputs = keep_outputs
        self._on_progress = on_progress
        self._first_token: Callable[[int], None] = lambda _: None
        self._more = threading.Event()
        self._impatient: list[ImpatientSequence] = []
        self.step_log = StepLog(0.0)

    @classmethod
    def of(
        cls,
        options: EngineOptions,
        runner: ModelRunner,
        clock: Clock,
        *,
        priorities: Mapping[str, int],
        prefill_tokens: int,
        stop_ids: frozenset[int] = frozenset(),
        keep_outputs: bool = False,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Self:
        """Return an engine with a scenario's options; ``prefill_tokens`` replaces `auto`.

        ``priorities`` are those of the request classes.
        """
        return cls(
            runner,
            clock,
            slots=options.slots,
            batching=options.batching,
            prefill_tokens=prefill_tokens,
            prefill_chunk=options.prefill_chunk,
            prefix_cache=options.prefix_cache,
            batch_wait=options.longest_batch_wait,
            queue=queue_of(options.queue, priorities),
            max_queue=options.max_queue,
            kv_tokens=options.kv_tokens,
            stop_ids=stop_ids,
            keep_outputs=keep_outputs,
            on_progress=on_progress,
        )

    def serve(self, dispatch: Dispatch) -> list[Record]:
        """Serve all requests of a dispatch; return their records in order of completion."""
        records: list[Record] = []
        self.begin(dispatch)
        while not dispatch.finished:
            records += self.turn(dispatch)
        return records

    def begin(self, dispatch: Dispatch) -> None:
        """Begin to serve a dispatch, by calls of `turn`."""
        self.step_log = StepLog(self._clock.now())
        self._first_token, dispatch.on_more = dispatch.first_token, self._more.set

    def turn(self, dispatch: Dispatch) -> list[Record]:
        """Run a step, or wait if there is none to run; return the records of what has finished."""
        now = self._clock.now()
        finished = self._admit(dispatch, now)
        if withdrawn := self._withdrawn(now):
            finished += withdrawn
        elif (moment := self._scheduler.next_step(now)) <= now:
            finished += self.step(now)
        elif not finished:
            self._wait(dispatch, moment)
        if not finished:
            return []
        records = [self._finish(sequence, dispatch) for sequence in finished]
        self._on_progress()
        return records

    @property
    def is_idle(self) -> bool:
        """Whether no request waits or runs."""
        return self._scheduler.is_idle

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

    def _wait(self, dispatch: Dispatch, moment: float) -> None:
        """Wait for the next due request, or for a moment."""
        due = dispatch.next_due()
        until = min([moment, *self._gives_up_at()])
        if due is not None:
            self._clock.sleep_until(min(due, until))
        elif not dispatch.finished:  # another thread may issue requests
            self._clock.wait_for(self._more, until)
            self._more.clear()
        self.step_log.note("idle", self._clock.now())

    def _gives_up_at(self) -> list[float]:
        """Return when the users of waiting requests give up."""
        waiting = (sequence for sequence in self._impatient if sequence.slot is None)
        moments = (sequence.request.gives_up_at(sequence.due) for sequence in waiting)
        return [moment for moment in moments if moment is not None]

    def _prefill(self, joining: list[Sequence], now: float) -> list[Sequence]:
        for sequence in joining:
            if sequence.started is None:
                sequence.started = now
        tokens = self._next_tokens(joining)
        for sequence in joining:
            sequence.prefilled = sequence.chunk_end
        if not joining[0].is_prefilled:  # then it is alone
            return self._given_up(joining[0])
        new = [sequence for sequence in joining if not sequence.output_ids]
        finished = self._timestamp("prefill", joining, [[token] for token in tokens])
        for sequence in new:
            self._first_token(sequence.request.id)
        return finished

    def _given_up(self, sequence: Sequence) -> list[Sequence]:
        """Return a sequence after a chunk of its prompt if its user has given up, else nothing."""
        now = self._clock.now()
        self.step_log.note("prefill", now)
        self._scheduler.generated([], [], now)
        if not isinstance(sequence, ImpatientSequence) or not sequence.give_up_by(now):
            return []
        self._scheduler.retire(sequence)
        return [sequence]

    def _next_tokens(self, joining: list[Sequence]) -> SequenceOf[int]:
        slots = [sequence.slot for sequence in joining if sequence.slot is not None]
        chunks = [sequence.context[sequence.prefilled : sequence.chunk_end] for sequence in joining]
        starts = [sequence.prefilled for sequence in joining]
        if self._chunk_runner:
            for move in self._scheduler.take_moves():
                move.run(self._chunk_runner)
            if any(starts):
                return self._chunk_runner.prefill_chunks(slots, chunks, starts)
        if len(joining) == 1:
            return [self._runner.prefill(slots[0], chunks[0])]
        return self._runner.prefill_batch(slots, chunks)

    def _decode(self) -> list[Sequence]:
        running = self._scheduler.decoding
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
        record = sequence.record(keep_outputs=self._keep_outputs)
        dispatch.finish(sequence.request.id, sequence.ended_at, sequence.outcome)
        dispatch.recorded(record)
        return record
