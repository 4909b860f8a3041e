"""The steps that are profiled: prefills of a typical prompt, and decodes of a typical batch.

They are the steps that the engine makes, on the same runner. Answers are written as in a load: rows
begin with prompts of the workload and go on until one has its answer; then they begin again.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Protocol

from llmbench.engine.engine import ModelRunner
from llmbench.errors import InputError
from llmbench.loads.schedule import LOADS
from llmbench.runs.request import Request
from llmbench.scenario.schema import Scenario

DECODED = 2  # tokens of an answer from which on it takes a decode step


class Phase(Protocol):
    """Steps of one kind."""

    name: str

    @property
    def rows(self) -> int:
        """How many sequences a step serves."""

    def ready(self) -> None:
        """Do what must be done before a step and is no part of it."""

    def step(self) -> Sequence[Sequence[int]]:
        """Make a step and give its tokens by row."""

    def took(self, chunks: Sequence[Sequence[int]]) -> int:
        """Take the tokens of a step in and count them."""

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """The length of the shortest prompt and that of the longest."""

    @property
    def cache_tokens(self) -> tuple[int, int]:
        """How much of the cache is filled now: the least of any row, and the most."""


@dataclass(slots=True)
class Prefill:
    """The prompt of a request, read into the first slot again and again."""

    runner: ModelRunner
    request: Request
    name: str = "prefill"
    rows: int = 1

    def ready(self) -> None:
        """Need nothing: a prompt replaces the one before."""

    def step(self) -> Sequence[Sequence[int]]:
        """Read the prompt and give the first token."""
        return [[self.runner.prefill(0, self.request.prompt)]]

    def took(self, chunks: Sequence[Sequence[int]]) -> int:
        """Count the tokens."""
        return sum(map(len, chunks))

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """The length of the prompt."""
        length = len(self.request.prompt)
        return length, length

    @property
    def cache_tokens(self) -> tuple[int, int]:
        """The same: the new token is not in the cache yet."""
        return self.prompt_tokens


@dataclass(slots=True)
class Decode:
    """A row for each request, all of them in one batch, each with tokens of its own."""

    runner: ModelRunner
    requests: Sequence[Request]
    name: str = "decode"
    given: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many sequences a step serves."""
        return len(self.requests)

    def ready(self) -> None:
        """Begin all rows again, once one of them has its answer."""
        answers = zip(self.given, self.requests, strict=True) if self.given else ()
        if self.given and all(given < request.max_new_tokens for given, request in answers):
            return
        for slot, request in enumerate(self.requests):
            self.runner.prefill(slot, request.prompt)
        self.given = [1] * self.rows

    def step(self) -> Sequence[Sequence[int]]:
        """Give the next tokens of every row."""
        return self.runner.decode(range(self.rows))

    def took(self, chunks: Sequence[Sequence[int]]) -> int:
        """Count the tokens, by row and all of them."""
        self.given = [given + len(chunk) for given, chunk in zip(self.given, chunks, strict=True)]
        return sum(map(len, chunks))

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """The length of the shortest prompt and that of the longest."""
        lengths = [len(request.prompt) for request in self.requests]
        return min(lengths), max(lengths)

    @property
    def cache_tokens(self) -> tuple[int, int]:
        """The tokens of each row but the newest, which is not in the cache yet."""
        pairs = zip(self.requests, self.given, strict=True)
        lengths = [len(request.prompt) + given - 1 for request, given in pairs]
        return min(lengths), max(lengths)


def phases_of(runner: ModelRunner, requests: Sequence[Request], rows: int) -> list[Phase]:
    """Give the phases that requests go through: no decode where all answers are of one token."""
    prefill = Prefill(runner, _typical(requests, 1)[0])
    going_on = [request for request in requests if request.max_new_tokens >= DECODED]
    return [prefill, Decode(runner, _typical(going_on, rows))] if going_on else [prefill]


def _typical(requests: Sequence[Request], count: int) -> list[Request]:
    """Choose the requests whose lengths are nearest to the medians, again from the first if few."""
    prompt = statistics.median(len(request.prompt) for request in requests)
    answer = statistics.median(request.max_new_tokens for request in requests)

    def distance(request: Request) -> float:
        return abs(len(request.prompt) / prompt - 1) + abs(request.max_new_tokens / answer - 1)

    return list(islice(cycle(sorted(requests, key=distance)[:count]), count))


def implied_rows(scenario: Scenario, asked: int | None) -> int:
    """Say how many rows a decode has: as asked, else as many as slots and load let there be.

    Raises InputError when there are not so many slots.
    """
    slots = scenario.engine.slots
    if asked is None:
        concurrency = LOADS.part(scenario.load).concurrency
        return min(bound for bound in (slots, concurrency, scenario.max_in_flight) if bound)
    if not 1 <= asked <= slots:
        raise InputError(f"--rows {asked}: expected 1 to {slots}, the slots of the engine")
    return asked
