"""What is asked of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Phase", "Request"]

Phase = Literal["warmup", "measured"]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how many tokens to answer it with.

    ``prompt`` holds token ids; the workload has tokenised it before the clock starts, and
    ``tokenise_seconds`` says what that cost. ``text`` is what was tokenised, for backends that send
    text; None where the ids were drawn. ``prompt_id`` names the text it came from.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    phase: Phase = "measured"
    text: str | None = None
    prompt_id: str | None = None
    tokenise_seconds: float | None = None
