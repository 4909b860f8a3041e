"""A request while the engine works on it."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmbench.record import Finish, Record
from llmbench.request import Request

__all__ = ["Sequence"]


@dataclass(slots=True)
class Sequence:
    """A request with the tokens it has got so far and when they came."""

    request: Request
    due: float
    sent: float
    stop_ids: frozenset[int] = frozenset()
    slot: int | None = None
    started: float | None = None
    output_ids: list[int] = field(default_factory=list)
    token_times: list[float] = field(default_factory=list)

    def append(self, token: int, now: float) -> None:
        """Take a token whose id reached the host at ``now``."""
        self.output_ids.append(token)
        self.token_times.append(now)

    @property
    def finish(self) -> Finish:
        """How it ended, or ``unfinished``."""
        if self.output_ids and self.output_ids[-1] in self.stop_ids:
            return "eos"
        return "length" if len(self.output_ids) >= self.request.max_new_tokens else "unfinished"

    @property
    def is_finished(self) -> bool:
        """Whether it has all the tokens it will get."""
        return self.finish != "unfinished"

    def record(self, *, keep_outputs: bool) -> Record:
        """Freeze what happened."""
        return Record(
            request_id=self.request.id,
            phase=self.request.phase,
            due=self.due,
            sent=self.sent,
            started=self.started,
            token_times=tuple(self.token_times),
            token_counts=(1,) * len(self.token_times),
            prompt_tokens=len(self.request.prompt),
            max_new_tokens=self.request.max_new_tokens,
            finish=self.finish,
            prompt_id=self.request.prompt_id,
            tokenise_seconds=self.request.tokenise_seconds,
            output_ids=tuple(self.output_ids) if keep_outputs else None,
        )
