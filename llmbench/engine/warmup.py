"""Warm up: run steps of all measured shapes until nothing compiles and step times are steady."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Protocol

from llmbench.engine.buckets import Buckets
from llmbench.engine.engine import ChunkRunner, ModelRunner, batched
from llmbench.units import format_duration

WarmupStep = Callable[[], object]

STEADY_WITHIN = 1.10  # largest ratio of the times of two consecutive rounds
MIN_ROUNDS = 3
MAX_ROUNDS = 12
SECONDS_BETWEEN_STAGES = 1.0


class WarmupRunner(ModelRunner, Protocol):
    """A model runner that can be warmed up."""

    def pretend(self, rows: int, length: int) -> None:
        """Set the first slots' lengths so that the next decode step reads ``length`` tokens."""


def warmup_steps(
    runner: WarmupRunner, shapes: Buckets, totals: Sequence[int] = ()
) -> dict[str, WarmupStep]:
    """Return a warm-up step for each shape, by name: prefills, then decode steps."""
    return {**prefills(runner, shapes, totals), **decodes(runner, shapes)}


def prefills(
    runner: WarmupRunner, shapes: Buckets, totals: Sequence[int] = ()
) -> dict[str, WarmupStep]:
    """Return a prefill step for each prompt length, by name, and one for each total length.

    ``totals`` are those of several prompts in one step, none longer than the longest alone.
    """
    alone = {f"prefill {n}": partial(runner.prefill, 0, [1] * n) for n in shapes.prompts}
    longest = max(shapes.prompts)
    together = {
        f"prefill {n} together": partial(_prefill_total, runner, n, longest) for n in totals
    }
    return {**alone, **together}


def _prefill_total(runner: WarmupRunner, total: int, longest: int) -> None:
    """Prefill as few prompts as make ``total`` tokens, of about equal lengths."""
    count = max(2, -(-total // longest))
    lengths = [(total + index) // count for index in range(count)]
    batched(runner).prefill_batch(range(count), [[1] * length for length in lengths])


def chunk_steps(runner: ChunkRunner, sizes: Sequence[int], longest: int) -> dict[str, WarmupStep]:
    """Return a prefill step behind cached tokens for each chunk size, by name.

    Its prompt has ``longest`` tokens, or one more than the chunk.
    """
    return {f"prefill {n} behind": partial(_prefill_chunk, runner, n, longest) for n in sizes}


def _prefill_chunk(runner: ChunkRunner, size: int, longest: int) -> None:
    runner.prefill_chunks([0], [[1] * size], [max(1, longest - size)])


def decodes(runner: WarmupRunner, shapes: Buckets) -> dict[str, WarmupStep]:
    """Return a decode step for each batch size and cache length, by name."""
    return {
        f"decode {rows} x {length}": partial(_warm_up_decode, runner, rows, length)
        for rows in shapes.rows
        for length in shapes.lengths
    }


def _warm_up_decode(runner: WarmupRunner, rows: int, length: int) -> None:
    runner.pretend(rows, length)
    runner.decode(range(rows))


@dataclass(frozen=True, slots=True)
class Warmup:
    """The result of a warm-up: step times in seconds by round, and whether they are steady.

    The first call of a step includes its compilation.
    """

    rounds: tuple[dict[str, float], ...]
    steady: bool

    @property
    def first_token_seconds(self) -> float:
        """The duration of the first step, a cold prefill, in seconds."""
        return next(iter(self.rounds[0].values()))

    @property
    def compile_seconds(self) -> float:
        """The estimated compile time in seconds.

        The sum over steps of the first call's time minus the last call's, where positive.
        """
        first, last = self.rounds[0], self.rounds[-1]
        return sum(max(0.0, first[step] - last[step]) for step in first)

    @property
    def steps(self) -> tuple[float, ...]:
        """The times of all steps in seconds, in order of execution."""
        return tuple(seconds for times in self.rounds for seconds in times.values())


def warm_up(
    steps: Mapping[str, WarmupStep],
    compiled: Callable[[], int],
    now: Callable[[], float] = time.monotonic,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Warmup:
    """Run every step once per round, a prefill first, until step times are steady.

    ``compiled`` returns the number of graphs compiled so far. The warm-up ends after a round, at
    least the third, that compiled nothing and took as long as the previous one within 10 %, or
    after 12 rounds. ``on_stage`` is called between steps, at most once a second.
    """
    rounds: list[dict[str, float]] = []
    stages = _Stages(len(steps), on_stage, now)
    while len(rounds) < MAX_ROUNDS:
        graphs = compiled()
        rounds.append({})
        for name, step in steps.items():
            stages.describe(rounds)
            rounds[-1][name] = _timed(step, now)
        if compiled() == graphs and len(rounds) >= MIN_ROUNDS and _is_steady(rounds[-2:]):
            return Warmup(tuple(rounds), steady=True)
    return Warmup(tuple(rounds), steady=False)


@dataclass(slots=True)
class _Stages:
    """Describes the steps of a warm-up, at most one each SECONDS_BETWEEN_STAGES."""

    steps: int
    on_stage: Callable[[str], None]
    now: Callable[[], float]
    _last: float = -inf

    def describe(self, rounds: Sequence[Mapping[str, float]]) -> None:
        """Describe the step that begins: its number, and the time of a step in its round so far."""
        if self.now() - self._last < SECONDS_BETWEEN_STAGES:
            return
        self._last = self.now()
        times = rounds[-1].values()
        mean = f", {format_duration(sum(times) / len(times))} a step" if times else ""
        slow = "; first calls may compile, which is slow" if len(rounds) == 1 else ""
        step = f"round {len(rounds)}, step {len(times) + 1} of {self.steps}"
        self.on_stage(f"warming up: {step}{mean}{slow}")


def _timed(step: WarmupStep, now: Callable[[], float]) -> float:
    began = now()
    step()
    return now() - began


def _is_steady(rounds: Sequence[dict[str, float]]) -> bool:
    before, after = (sum(times.values()) for times in rounds)
    return max(before, after) <= STEADY_WITHIN * min(before, after)


def graphs_compiled() -> int:
    """Return how many graphs torch.compile has compiled in this process."""
    from torch._dynamo.utils import counters  # noqa: PLC0415 (imports torch)

    return int(counters["stats"]["unique_graphs"])


def graph_breaks() -> int:
    """Return how many graph breaks torch.compile had in this process."""
    from torch._dynamo.utils import counters  # noqa: PLC0415 (imports torch)

    return sum(counters["graph_break"].values())
