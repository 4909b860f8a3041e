"""Named random streams: adding a stream does not change the draws of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar
from zlib import crc32

import numpy as np

T = TypeVar("T")


def stream(seed: int, name: str) -> np.random.Generator:
    """Return the random stream for a seed and a name; equal arguments give equal draws."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(crc32(name.encode()),)))
    )


def repeat_seed(seed: int, repeat: int) -> int:
    """Return the seed of one repeat: the same for all cases, independent of other repeats."""
    return int(stream(seed, f"repeat {repeat}").integers(2**32))


def drawn(items: Sequence[T], weights: Sequence[float], rng: np.random.Generator) -> Iterator[T]:
    """Yield items endlessly, each with a probability in proportion to its weight."""
    bounds = np.cumsum(np.asarray(weights) / np.sum(weights))
    while True:
        index = int(np.searchsorted(bounds, rng.random(), "right"))
        yield items[min(index, len(items) - 1)]
