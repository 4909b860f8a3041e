"""The batch and sequence sizes of steps: a few for a compiled backend, any for an eager one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


def round_up(number: int, multiple: int) -> int:
    """Return ``number`` rounded up to the next multiple of ``multiple``."""
    return -(-number // multiple) * multiple


def doublings(least: int, most: int) -> tuple[int, ...]:
    """Return the sizes least, 2 × least, 4 × least, ... below most, and then most."""
    sizes = []
    while least < most:
        sizes.append(least)
        least *= 2
    return (*sizes, most)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes to which prompt lengths, batch sizes and cache lengths to read are rounded up.

    ``prompts`` and ``lengths`` are in tokens, ``rows`` in sequences. Each is ascending and ends
    with the maximum; ``range(1, n + 1)`` rounds nothing up.
    """

    prompts: Sequence[int]
    rows: Sequence[int]
    lengths: Sequence[int]

    def prompt(self, length: int) -> int:
        """Return the number of tokens to which a prompt of ``length`` tokens is padded."""
        return _at_least(self.prompts, length)

    def batch(self, rows: int) -> int:
        """Return the batch size of a decode step that needs at least ``rows`` sequences."""
        return _at_least(self.rows, rows)

    def length(self, length: int) -> int:
        """Return the cache length in tokens that a step reads for sequences of up to ``length``."""
        return _at_least(self.lengths, length)

    def thinned(self, most: int) -> Buckets:
        """Return at most ``most`` sizes of each kind: every nth one, counted from the largest."""
        return Buckets(*(_thinned(kind, most) for kind in (self.prompts, self.rows, self.lengths)))


def _thinned(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    every = -(-len(sizes) // most)
    return tuple(reversed(sizes[::-1][::every]))


def _at_least(sizes: Sequence[int], wanted: int) -> int:
    return sizes[bisect_left(sizes, wanted)]
