"""The virtual clock and the runner of an engine that is simulated by a step model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llmbench.engine.timed_runner import TimedRunner
from llmbench.loads.clock import VirtualClock
from llmbench.simulation.draws import Draws, Factors
from llmbench.simulation.step_times import StepModel


@dataclass(slots=True)
class LateClock(VirtualClock):
    """A virtual clock whose sleeps end late, each by the next lag; it notes that it has slept."""

    lags: Draws | None = None
    has_slept: bool = False

    def sleep_until(self, moment: float) -> None:
        """Jump to the end of a sleep, if that is in the future."""
        if moment <= self.seconds:
            return
        self.seconds = moment + (self.lags.next() if self.lags else 0.0)
        self.has_slept = True


@dataclass(slots=True)
class ModeledRunner(TimedRunner):
    """A model runner that advances the clock by the time of each step.

    ``cached`` has the number of tokens that each slot holds.
    """

    model: StepModel
    clock: LateClock
    factors: Factors
    slots: int
    cached: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.cached = [0] * self.slots

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Prefill chunks of prompts in one step, behind the tokens that their slots hold."""
        for slot, chunk, start in zip(slots, chunks, starts, strict=True):
            self.cached[slot] = start + len(chunk)
        seconds = self.model.prefill_seconds(sum(map(len, chunks)), sum(starts), len(chunks))
        factors = self.factors.wake if self.clock.has_slept else self.factors.prefill
        self.clock.has_slept = False
        self.clock.advance(seconds * factors.next())
        return [self.next_token() for _ in slots]

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Decode one token of each slot."""
        depth = 0
        for slot in slots:
            depth += self.cached[slot]
            self.cached[slot] += 1
        seconds = self.model.decode_seconds(len(slots), depth)
        self.clock.advance(seconds * self.factors.decode.next())
        return [[self.next_token()] for _ in slots]
