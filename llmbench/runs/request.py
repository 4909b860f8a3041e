"""What is asked of a backend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["warmup", "measured"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What comes next in a session, ``think_seconds`` after the answer before it."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    think_seconds: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how many tokens to answer it with.

    ``prompt`` holds token ids; the workload has tokenized it before the clock starts, and
    ``tokenize_seconds`` says what that cost. ``text`` is what was tokenized, for backends that send
    text; None where the ids were drawn. ``prompt_id`` names the text it came from,
    ``request_class`` a group of requests with objectives of its own.

    In a session, ``turn`` counts from 0 and ``prompt`` holds all that was said before as well; for
    backends that send text, that is in ``history``: a person's words and the answer, in turns.
    ``turns`` are those still to come, and ``think_seconds`` is the pause that came before.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    phase: Phase = "measured"
    text: str | None = None
    prompt_id: str | None = None
    tokenize_seconds: float | None = None
    request_class: str | None = None
    session: int | None = None
    turn: int = 0
    history: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    think_seconds: float = 0.0

    def next_turn(self, answer_ids: Sequence[int], answer_text: str) -> Request:
        """Give the request of the next turn, once this one is answered.

        Backends that send text know the answer as text alone, and ``prompt`` lacks it then.
        """
        turn, *later = self.turns
        return replace(
            self,
            id=self.id + 1,
            prompt=(*self.prompt, *answer_ids, *turn.prompt),
            max_new_tokens=turn.max_new_tokens,
            phase="measured",
            text=turn.text,
            tokenize_seconds=None,
            turn=self.turn + 1,
            history=(*self.history, self.text or "", answer_text),
            turns=tuple(later),
            think_seconds=turn.think_seconds,
        )

    def lengths(self) -> Iterator[tuple[int, int]]:
        """Give the tokens of the prompt and of the answer of every turn, if answered in full."""
        prompt, answer = len(self.prompt), self.max_new_tokens
        yield prompt, answer
        for turn in self.turns:
            prompt += answer + len(turn.prompt)
            answer = turn.max_new_tokens
            yield prompt, answer
