"""The profiled steps: prefills of a typical prompt, and decodes of a typical batch.

They are the engine's own steps, on the same runner. Rows start with prompts of the workload, as in
a load; when one row is complete, all rows restart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice

from llmbench.engine.engine import ModelRunner
from llmbench.errors import InputError
from llmbench.loads.schedule import LOADS
from llmbench.runs.request import Request
from llmbench.scenario.schema import Scenario

DECODED = 2  # the shortest output, in tokens, that needs a decode step


@dataclass(slots=True)
class Prefill:
    """The phase whose steps prefill one request's prompt into the first slot."""

    runner: ModelRunner
    request: Request
    name: str = "prefill"
    rows: int = 1

    def ready(self) -> None:
        """Do nothing: each prompt replaces the previous one."""

    def step(self) -> Sequence[Sequence[int]]:
        """Prefill the prompt and return the first token."""
        return [[self.runner.prefill(0, self.request.prompt)]]

    def count(self, chunks: Sequence[Sequence[int]]) -> int:
        """Return the number of new tokens of a step."""
        return sum(map(len, chunks))

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """The length of the prompt in tokens, as minimum and maximum."""
        length = len(self.request.prompt)
        return length, length

    @property
    def cache_tokens(self) -> tuple[int, int]:
        """The prompt length, as minimum and maximum; the new token is not cached yet."""
        return self.prompt_tokens


@dataclass(slots=True)
class Decode:
    """The phase whose steps decode one batch, with one row per request."""

    runner: ModelRunner
    requests: Sequence[Request]
    name: str = "decode"
    generated: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of sequences per step."""
        return len(self.requests)

    def ready(self) -> None:
        """Prefill all rows, at first and whenever one of them is complete; this is not timed."""
        answers = zip(self.generated, self.requests, strict=True) if self.generated else ()
        if self.generated and all(tokens < request.max_new_tokens for tokens, request in answers):
            return
        for slot, request in enumerate(self.requests):
            self.runner.prefill(slot, request.prompt)
        self.generated = [1] * self.rows

    def step(self) -> Sequence[Sequence[int]]:
        """Run a step and return the new tokens of each row."""
        return self.runner.decode(range(self.rows))

    def count(self, chunks: Sequence[Sequence[int]]) -> int:
        """Record the tokens by row and return their number."""
        self.generated = [
            tokens + len(chunk) for tokens, chunk in zip(self.generated, chunks, strict=True)
        ]
        return sum(map(len, chunks))

    @property
    def prompt_tokens(self) -> tuple[int, int]:
        """The lengths of the shortest and the longest prompt, in tokens."""
        lengths = [len(request.prompt) for request in self.requests]
        return min(lengths), max(lengths)

    @property
    def cache_tokens(self) -> tuple[int, int]:
        """The minimum and maximum number of cached tokens per row, without the newest token."""
        pairs = zip(self.requests, self.generated, strict=True)
        lengths = [len(request.prompt) + tokens - 1 for request, tokens in pairs]
        return min(lengths), max(lengths)


Phase = Prefill | Decode


def phases_of(runner: ModelRunner, requests: Sequence[Request], rows: int) -> list[Phase]:
    """Return prefill and decode of typical requests; no decode if all outputs are single tokens."""
    prefill = Prefill(runner, _typical(requests, 1)[0])
    continued = [request for request in requests if request.max_new_tokens >= DECODED]
    return [prefill, Decode(runner, _typical(continued, rows))] if continued else [prefill]


def _typical(requests: Sequence[Request], count: int) -> list[Request]:
    """Return the ``count`` requests with lengths nearest the medians, repeated if too few."""
    prompt = statistics.median(len(request.prompt) for request in requests)
    answer = statistics.median(request.max_new_tokens for request in requests)

    def distance(request: Request) -> float:
        return abs(len(request.prompt) / prompt - 1) + abs(request.max_new_tokens / answer - 1)

    return list(islice(cycle(sorted(requests, key=distance)[:count]), count))


def implied_rows(scenario: Scenario, requested: int | None) -> int:
    """Return the rows per decode step: as requested, or as many as slots and load allow.

    Raises InputError if more rows than slots are requested.
    """
    slots = scenario.engine.slots
    if requested is None:
        concurrency = LOADS.part(scenario.load).concurrency
        return min(bound for bound in (slots, concurrency, scenario.max_in_flight) if bound)
    if not 1 <= requested <= slots:
        raise InputError(f"--rows {requested}: expected 1 to {slots}, the number of engine slots")
    return requested
