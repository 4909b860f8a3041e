"""Requests to a backend, and the later turns of their sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Phase = Literal["warmup", "measured"]


@dataclass(frozen=True, slots=True)
class Turn:
    """A later turn of a session, due ``think_seconds`` after the previous response."""

    prompt: tuple[int, ...]
    max_new_tokens: int
    think_seconds: float
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and the number of tokens to generate.

    ``prompt`` contains token ids; ``tokenize_seconds`` is the time spent tokenizing it, before the
    run's clock starts. ``text`` is the prompt's text, for backends that send text; None for random
    ids. ``prompt_id`` identifies the text, and ``request_class`` a group of requests with its own
    objectives. ``shared`` is the number of leading tokens that the workload shares between
    requests on purpose, and ``has_exact_length`` whether the prompt is made to a length instead of
    being a text of its own.

    In a session, ``turn`` counts from 0 and ``prompt`` includes the earlier turns; ``history``
    alternates their messages and responses, for backends that send text. ``turns`` are the later
    turns, and ``think_seconds`` the pause before this turn.
    """

    id: int
    prompt: tuple[int, ...]
    max_new_tokens: int
    phase: Phase = "measured"
    text: str | None = None
    prompt_id: str | None = None
    tokenize_seconds: float | None = None
    request_class: str | None = None
    shared: int = 0
    has_exact_length: bool = False
    session: int | None = None
    turn: int = 0
    history: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    think_seconds: float = 0.0

    def next_turn(self, answer_ids: Sequence[int], answer_text: str) -> Request:
        """Return the request of the next turn, given the response to this one.

        Backends that send text know the response only as text, so ``prompt`` lacks its tokens.
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
        """Yield the prompt and output lengths of every turn, assuming outputs of full length."""
        prompt, answer = len(self.prompt), self.max_new_tokens
        yield prompt, answer
        for turn in self.turns:
            prompt += answer + len(turn.prompt)
            answer = turn.max_new_tokens
            yield prompt, answer
