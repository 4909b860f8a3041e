"""A heap of keys that can be removed and moved."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

SPARE = 64  # removed entries that are kept at least


class RemovableHeap(Generic[Key]):
    """Keys in ascending order of their ranks; those of equal ranks in the order of their pushes.

    A removed or moved key leaves its entry behind, which is skipped later. Once more than half of
    the entries are such, they are dropped.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[tuple[float, ...], int, Key]] = []
        self._current: dict[Key, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._current)

    def __contains__(self, key: object) -> bool:
        """Return whether a key is in the heap."""
        return key in self._current

    def push(self, key: Key, *rank: float) -> None:
        """Add a key, or move it to another rank."""
        number = self._current[key] = next(self._numbers)
        heappush(self._entries, (rank, number, key))
        if len(self._entries) > 2 * len(self._current) + SPARE:
            self._drop()

    def remove(self, key: Key) -> None:
        """Remove a key; raises KeyError if it is not in the heap."""
        del self._current[key]

    def first(self) -> Key:
        """Return the key with the lowest rank; raises LookupError if there is none."""
        entries, current = self._entries, self._current
        while current.get(entries[0][2]) != entries[0][1]:
            heappop(entries)
        return entries[0][2]

    def _drop(self) -> None:
        """Drop the entries of removed and moved keys."""
        self._entries = [
            entry for entry in self._entries if self._current.get(entry[2]) == entry[1]
        ]
        heapify(self._entries)
