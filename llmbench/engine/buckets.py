"""The shapes of steps: few for a compiled backend, any for an eager one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


def round_up(number: int, multiple: int) -> int:
    """Return a number rounded up to a multiple."""
    return -(-number // multiple) * multiple


def doublings(least: int, most: int, factor: int = 2) -> tuple[int, ...]:
    """Return least, least × factor, ... up to and including most."""
    sizes = []
    while least < most:
        sizes.append(least)
        least *= factor
    return (*sizes, most)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes to which prompts, batches and cache reads are rounded up.

    ``prompts`` and ``lengths`` in tokens, ``rows`` in sequences; each is ascending and ends with
    the maximum.
    """

    prompts: tuple[int, ...]
    rows: tuple[int, ...]
    lengths: tuple[int, ...]

    def prompt(self, length: int) -> int:
        """Return the bucket of a prompt's length."""
        return _at_least(self.prompts, length)

    def batch(self, rows: int) -> int:
        """Return the bucket of a decode step's number of rows."""
        return _at_least(self.rows, rows)

    def length(self, length: int) -> int:
        """Return the bucket of the cache length that a decode step reads."""
        return _at_least(self.lengths, length)

    def thinned(self, most: int) -> Buckets:
        """Return at most ``most`` evenly spaced sizes of each kind, including the largest."""
        return Buckets(*(_thinned(kind, most) for kind in (self.prompts, self.rows, self.lengths)))


def _thinned(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    every = -(-len(sizes) // most)
    return tuple(reversed(sizes[::-1][::every]))


def _at_least(sizes: Sequence[int], wanted: int) -> int:
    return sizes[bisect_left(sizes, wanted)]
