"""The state of a request in the engine."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Finish, Record
from llmbench.runs.request import Request


@dataclass(slots=True)
class Sequence:
    """A request with its output tokens and their times so far.

    ``abandoned_at`` is when its user gave up; a sequence that ``is_rejected`` was never queued.
    ``queued`` is when it last joined the queue, and ``waited`` the seconds that it spent there in
    all, up to its last slot. It lost its slot ``preemptions`` times.
    ``prefilled`` of the ``prefill_end`` tokens of its context are cached, and the next prefill step
    runs those up to ``chunk_end``. ``cached_tokens`` of its prompt were cached before its first
    prefill; None without prefix reuse.
    """

    request: Request
    due: float
    sent: float
    stop_ids: frozenset[int] = frozenset()
    slot: int | None = None
    started: float | None = None
    output_ids: list[int] = field(default_factory=list)
    token_times: list[float] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)
    abandoned_at: float | None = None
    is_rejected: bool = False
    queued: float = 0.0
    waited: float = 0.0
    preemptions: int = 0
    prefilled: int = 0
    chunk_end: int = 0
    prefill_end: int = 0
    cached_tokens: int | None = None

    @property
    def context(self) -> SequenceOf[int]:
        """The tokens that a prefill runs: the prompt and, after a preemption, the output so far."""
        prompt = self.request.prompt
        return (*prompt, *self.output_ids) if self.output_ids else prompt

    @property
    def context_tokens(self) -> int:
        """The number of tokens that a prefill runs."""
        return len(self.request.prompt) + len(self.output_ids)

    @property
    def is_prefilled(self) -> bool:
        """Whether all of the context is cached that it had when it got its slot."""
        return self.prefilled == self.prefill_end

    @property
    def most_tokens(self) -> int:
        """The most tokens that it can have: its prompt and the output that it asks for."""
        return len(self.request.prompt) + self.request.max_new_tokens

    def wait(self, now: float) -> float:
        """Return the seconds that a waiting sequence has spent in the queue, in all."""
        return self.waited + (now - self.queued)

    def extend(self, chunk: SequenceOf[int], now: float) -> None:
        """Append the tokens that reached the host at ``now``, up to the end of the output."""
        if len(chunk) > 1:
            chunk = self._truncated(chunk)
        self.output_ids += chunk
        self.token_times.append(now)
        self.token_counts.append(len(chunk))

    def _truncated(self, chunk: SequenceOf[int]) -> SequenceOf[int]:
        """Return the chunk up to the last output token: a stop token or the length limit."""
        room = self.request.max_new_tokens - len(self.output_ids)
        stops = (index for index, token in enumerate(chunk, start=1) if token in self.stop_ids)
        return chunk[: min(room, next(stops, room))]

    @property
    def finish(self) -> Finish:
        """The finish reason: eos, length, abandoned or rejected; else ``unfinished``."""
        if self.output_ids and self.output_ids[-1] in self.stop_ids:
            return "eos"
        if len(self.output_ids) >= self.request.max_new_tokens:
            return "length"
        if self.abandoned_at is not None:
            return "abandoned"
        return "rejected" if self.is_rejected else "unfinished"

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete, or its user has given up, or it was rejected."""
        ids = self.output_ids  # not by `finish`, since every step asks this of every sequence
        return (
            len(ids) >= self.request.max_new_tokens
            or self.abandoned_at is not None
            or self.is_rejected
            or (bool(ids) and ids[-1] in self.stop_ids)
        )

    @property
    def ended_at(self) -> float:
        """When the user gave up or it was rejected, else the time of the last token."""
        if self.is_rejected:
            return self.sent
        return self.token_times[-1] if self.abandoned_at is None else self.abandoned_at

    @property
    def outcome(self) -> RequestOutcome:
        """The outcome of the finished request, as the dispatch needs it."""
        times, ids = self.token_times, self.output_ids
        if self.abandoned_at is not None:
            return RequestOutcome(succeeded=False, abandoned=True, tokens=len(ids))
        if self.is_rejected:
            return RequestOutcome(succeeded=False)
        return RequestOutcome(
            first_token=times[0], token_times=times, tokens=len(ids), answer_ids=ids
        )

    def record(self, *, keep_outputs: bool) -> Record:
        """Return the request's record, with its output ids if ``keep_outputs``."""
        return Record.of(
            self.request,
            self.due,
            self.sent,
            self.finish,
            started=self.started,
            token_times=self.token_times,
            token_counts=self.token_counts,
            output_ids=tuple(self.output_ids) if keep_outputs else None,
            abandoned_at=self.abandoned_at,
            preemptions=self.preemptions,
            cached_tokens=self.cached_tokens,
        )


@dataclass(slots=True)
class ImpatientSequence(Sequence):
    """A request whose user gives up, unless it is finished before.

    The user does not receive the tokens of the step that runs at that moment.
    """

    def give_up_by(self, now: float) -> bool:
        """Abandon a request without tokens if its user gives up by now; return whether so."""
        moment = self.request.gives_up_at(self.due)
        if moment is not None and moment <= now:
            self.abandoned_at = moment
        return self.abandoned_at is not None

    def extend(self, chunk: SequenceOf[int], now: float) -> None:
        """Append the tokens that reached the host at ``now``, unless the user gave up before."""
        moment = self.request.gives_up_at(self.due)
        if moment is not None and moment < now:
            self.abandoned_at = moment
            return
        Sequence.extend(self, chunk, now)
        most = self.request.patience.tokens if self.request.patience else None
        if most is not None and len(self.output_ids) >= most and not self.is_finished:
            self.abandoned_at = now
