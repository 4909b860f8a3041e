"""What happened to a request, and what the machine did meanwhile.

Times are seconds on the run's clock, which reads 0 when the load starts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmbench.runs.request import Phase

Finish = Literal["length", "eos", "ended", "error", "unfinished"]
SUCCEEDED: tuple[Finish, ...] = ("length", "eos", "ended")


@dataclass(frozen=True, slots=True)
class Record:
    """One request from its due time to its last token.

    ``due`` is when the schedule wanted it sent, ``sent`` when it reached the backend (None: never),
    ``started`` when the backend first worked on it. ``token_times`` has one stamp per chunk and
    ``token_counts`` how many tokens came with it, so a chunk of k tokens is one gap and k tokens.
    A stamp is NaN where it is known only that tokens came between its neighbors; so it may be in
    runs imported from other tools, where ``finish`` may be ``ended`` (in full, and nobody says why)
    and the lengths of what was asked None.
    ``output_ids`` are kept only when the scenario asks for them. Of an endpoint,
    ``connect_seconds`` is the time to connect where a connection was opened, ``first_content`` the
    first token that is not reasoning, and ``retries`` how often it was sent again. ``turn``
    counts from 0 within a ``session``.
    """

    request_id: int
    phase: Phase
    due: float
    sent: float | None
    started: float | None
    token_times: tuple[float, ...]
    token_counts: tuple[int, ...]
    prompt_tokens: int | None
    max_new_tokens: int | None
    finish: Finish
    error_kind: str | None = None
    error_message: str | None = None
    prompt_id: str | None = None
    tokenize_seconds: float | None = None
    output_ids: tuple[int, ...] | None = None
    connect_seconds: float | None = None
    first_content: float | None = None
    retries: int = 0
    request_class: str | None = None
    session: int | None = None
    turn: int = 0

    @property
    def output_tokens(self) -> int:
        """Tokens that came back."""
        return sum(self.token_counts)

    @property
    def succeeded(self) -> bool:
        """Whether the backend answered in full."""
        return self.finish in SUCCEEDED


@dataclass(frozen=True, slots=True)
class Series:
    """One quantity watched over time.

    ``source`` is ``measured``, ``estimated:<model>`` or ``unavailable:<why>``; an unavailable
    series has no values, never zeros.
    """

    name: str
    unit: str
    source: str
    times: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    @classmethod
    def unavailable(cls, name: str, unit: str, why: str) -> Series:
        """Say that a quantity could not be watched, and why."""
        return cls(name, unit, f"unavailable:{why}")

    @property
    def available(self) -> bool:
        """Whether it holds values."""
        return not self.source.startswith("unavailable:")

    @property
    def why_unavailable(self) -> str | None:
        """The reason for having no values, or None."""
        return None if self.available else self.source.removeprefix("unavailable:")
