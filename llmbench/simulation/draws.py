"""Endless random values, drawn in blocks and taken one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Draw = Callable[[int], Floats]  # returns the next values, as many as given

BLOCK = 512


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
            self._need(1)
        value = self._values[self._taken]
        self._taken += 1
        return value

    def take(self, count: int) -> Floats:
        """Take and return the next values."""
        values = np.array(self.ahead(count))
        self.skip(count)
        return values

    def ahead(self, count: int) -> list[float]:
        """Return the next values, without taking them."""
        begin = self._taken
        if len(self._values) - begin < count:
            self._need(count)
            begin = 0
        return self._values[begin : begin + count]

    def skip(self, count: int) -> None:
        """Take the next values, of which `ahead` has returned at least as many."""
        self._taken += count

    def _need(self, count: int) -> None:
        """Draw values, so that there are some number ahead."""
        del self._values[: self._taken]
        self._taken = 0
        while len(self._values) < count:
            self._values += self._draw(BLOCK).tolist()


class Factors:
    """The factors by which steps take longer than the model says.

    ``wake`` are those of prefill steps after a wait.
    """

    def __init__(self, noise: Noise) -> None:
        self.prefill = Draws(noise.prefill, 1.0)
        self.decode = Draws(noise.decode, 1.0)
        self.wake = Draws(noise.wake, 1.0) if noise.wake else self.prefill


class Variation(NamedTuple):
    """How the times of one measured engine varied: what `Noise` has a stream of, in its order.

    ``wake`` is empty if prefill steps after a wait are among the others.
    """

    prefill: Floats
    decode: Floats
    lag: Floats
    wake: Floats


def repeated(engines: Sequence[Variation], rng: np.random.Generator, servers: int) -> list[Noise]:
    """Return times of servers that vary as those of measured engines did.

    A server has the values of one engine after the other: all in a random order, and again in
    another one. The first begins at a random part of its values, and ends with what was before;
    each engine is the first of equally many servers. Processes differ in speed, and a machine is
    slow for seconds: so the values of an engine stay together, and its steps of all kinds begin at
    the same part. Source: Künsch, The Jackknife and the Bootstrap for General Stationary
    Observations, Annals of Statistics 17 (3), 1989; here with blocks of a whole engine, without
    replacement.
    """
    count = len(engines)
    first = np.concatenate([rng.permutation(count) for _ in range(-(-servers // count))])
    seeds = rng.integers(np.iinfo(np.int64).max, size=servers)
    return [
        _from(engines, *begin)
        for begin in zip(first[:servers].tolist(), seeds.tolist(), strict=True)
    ]


def _from(engines: Sequence[Variation], first: int, seed: int) -> Noise:
    """Return the values of all engines, that of a number first."""
    order = [first, *(index for index in range(len(engines)) if index != first)]
    streams = zip(*(engines[index] for index in order), strict=True)
    return Noise(
        *(
            _stream(_endless(own, np.random.default_rng(seed))) if any(map(len, own)) else None
            for own in streams
        )
    )


def _endless(values: Sequence[Floats], rng: np.random.Generator) -> Iterator[Floats]:
    """Yield the values of all engines, again and again; the first engine comes first once."""
    order = [0, *(1 + rng.permutation(len(values) - 1))]
    while True:
        first, *others = (values[index] for index in order)
        begin = int(rng.random() * len(first))
        yield from (first[begin:], *others, first[:begin])
        order = list(rng.permutation(len(values)))


def _stream(following: Iterator[Floats]) -> Draw:
    """Return the values of arrays in their order."""
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
