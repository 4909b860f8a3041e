"""The state of a request in the engine."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field

from llmbench.runs.record import Finish, Record
from llmbench.runs.request import Request


@dataclass(slots=True)
class Sequence:
    """A request with its output tokens and their times so far."""

    request: Request
    due: float
    sent: float
    stop_ids: frozenset[int] = frozenset()
    slot: int | None = None
    started: float | None = None
    output_ids: list[int] = field(default_factory=list)
    token_times: list[float] = field(default_factory=list)
    token_counts: list[int] = field(default_factory=list)

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
        """The finish reason, ``eos`` or ``length``, or ``unfinished``."""
        if self.output_ids and self.output_ids[-1] in self.stop_ids:
            return "eos"
        return "length" if len(self.output_ids) >= self.request.max_new_tokens else "unfinished"

    @property
    def is_finished(self) -> bool:
        """Whether the output is complete."""
        return self.finish != "unfinished"

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
        )
