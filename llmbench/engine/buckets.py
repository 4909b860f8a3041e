"""Which shapes steps come in: few for a compiled backend, any for an eager one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


def round_up(number: int, multiple: int) -> int:
    """Give the least multiple that is not below a number."""
    return -(-number // multiple) * multiple


def doublings(least: int, most: int, factor: int = 2) -> tuple[int, ...]:
    """List least, least × factor, ... up to and including most."""
    sizes = []
    while least < most:
        sizes.append(least)
        least *= factor
    return (*sizes, most)


@dataclass(frozen=True, slots=True)
class Buckets:
    """The sizes that prompts, batches and the read part of the cache are rounded up to.

    ``prompts`` and ``lengths`` in tokens, ``rows`` in sequences; each ascending, the last the
    largest that can come.
    """

    prompts: tuple[int, ...]
    rows: tuple[int, ...]
    lengths: tuple[int, ...]

    def prompt(self, length: int) -> int:
        """Round up the length of a prompt."""
        return _at_least(self.prompts, length)

    def batch(self, rows: int) -> int:
        """Round up the number of rows of a decode step."""
        return _at_least(self.rows, rows)

    def length(self, length: int) -> int:
        """Round up how much of the cache a decode step reads."""
        return _at_least(self.lengths, length)

    def thinned(self, most: int) -> Buckets:
        """Keep at most so many sizes of each kind, evenly spaced, the largest always."""
        return Buckets(*(_thinned(kind, most) for kind in (self.prompts, self.rows, self.lengths)))


def _thinned(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    every = -(-len(sizes) // most)
    return tuple(reversed(sizes[::-1][::every]))


def _at_least(sizes: Sequence[int], wanted: int) -> int:
    return sizes[bisect_left(sizes, wanted)]
