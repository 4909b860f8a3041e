"""Endless random values, drawn in blocks and taken one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Draw = Callable[[int], Floats]  # returns the next values, as many as given

BLOCK = 512
BLOCK_STEPS = 64


class Noise(NamedTuple):
    """How the times of a server vary: the factor of each step by its kind, and each lag in seconds.

    A lag is the time from a request's due time until an idle server has it. None means no
    variation, or no lag. ``wake`` has the factors of prefill steps that begin after a wait; None
    means those of other prefill steps.
    """

    prefill: Draw | None = None
    decode: Draw | None = None
    lag: Draw | None = None
    wake: Draw | None = None


NO_NOISE = Noise()


class Draws:
    """The values of a stream in their order; without a stream, always the same value."""

    def __init__(self, draw: Draw | None, value: float) -> None:
        self._draw = draw or (lambda count: np.full(count, value))
        self._values: list[float] = []
        self._taken = 0

    def next(self) -> float:
        """Take and return the next value."""
        if self._taken == len(self._values):
            self.ahead(1)
        value = self._values[self._taken]
        self._taken += 1
        return value

    def take(self, count: int) -> Floats:
        """Take and return the next values."""
        values, at = self.ahead(count)
        self.skip(count)
        return np.array(values[at : at + count])

    def ahead(self, count: int) -> tuple[list[float], int]:
        """Return the values ahead, at least ``count``, as a list and the index of the next one."""
        while len(self._values) - self._taken < count:
            del self._values[: self._taken]
            self._taken = 0
            self._values += self._draw(BLOCK).tolist()
        return self._values, self._taken

    def skip(self, count: int) -> None:
        """Take the next values, of which `ahead` has returned at least as many."""
        self._taken += count


class Factors:
    """The factors by which steps take longer than the model says.

    ``wake`` are those of prefill steps after a wait.
    """

    def __init__(self, noise: Noise) -> None:
        self.prefill = Draws(noise.prefill, 1.0)
        self.decode = Draws(noise.decode, 1.0)
        self.wake = Draws(noise.wake, 1.0) if noise.wake else self.prefill


def blocks(measured: Sequence[float] | Floats, rng: np.random.Generator) -> Draw:
    """Return a stream of measured values in blocks of BLOCK_STEPS, in random order.

    All blocks come once before any comes again, then from another beginning. So the stream has the
    distribution of the values, their mean even if it is short, and their short-range
    autocorrelation. Source of the blocks: Künsch, The Jackknife and the Bootstrap for General
    Stationary Observations, Annals of Statistics 17 (3), 1989; here without replacement.
    """
    following = _shuffled(np.asarray(measured, dtype=np.float64), rng)
    left = np.empty(0)

    def draw(count: int) -> Floats:
        nonlocal left
        parts, size = [left], len(left)
        while size < count:
            parts.append(next(following))
            size += len(parts[-1])
        values = np.concatenate(parts)
        left = values[count:]
        return values[:count]

    return draw


def _shuffled(pool: Floats, rng: np.random.Generator) -> Iterator[Floats]:
    """Yield all blocks of a pool in random order, endlessly; its end is followed by its begin."""
    begins = np.arange(0, len(pool), BLOCK_STEPS)
    lengths = np.minimum(BLOCK_STEPS, len(pool) - begins)
    while True:
        offset = int(rng.integers(len(pool)))
        for index in rng.permutation(len(begins)).tolist():
            begin = offset + int(begins[index])
            yield pool.take(range(begin, begin + int(lengths[index])), mode="wrap")
