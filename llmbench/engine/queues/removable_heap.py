"""A heap of items that can be removed and moved."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")

SPARE = 64  # entries of removed items that are kept at least


class RemovableHeap(Generic[Key, Item]):
    """Items in ascending order of their ranks; those of equal ranks in the order of their pushes.

    A removed or moved item leaves its entry behind, which is skipped later. Once more than half of
    the entries are such, they are dropped.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Any, ...]] = []  # ranks, number of the push, key, item
        self._current: dict[Key, int] = {}
        self._numbers = count()

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self._current)

    def __contains__(self, key: object) -> bool:
        """Return whether the item of a key is in the heap."""
        return key in self._current

    def push(self, key: Key, item: Item, *ranks: float) -> None:
        """Add the item of a key, or move it to other ranks."""
        number = self._current[key] = next(self._numbers)
        heappush(self._entries, (*ranks, number, key, item))
        if len(self._entries) > 2 * len(self._current) + SPARE:
            self._drop()

    def remove(self, key: Key) -> None:
        """Remove the item of a key; raises KeyError if it is not in the heap."""
        del self._current[key]

    def first(self) -> Item:
        """Return the item with the lowest ranks; raises LookupError if there is none."""
        entries, current = self._entries, self._current
        entry = entries[0]
        while current.get(entry[-2]) != entry[-3]:
            heappop(entries)
            entry = entries[0]
        item: Item = entry[-1]
        return item

    def _drop(self) -> None:
        """Drop the entries of removed and moved items."""
        self._entries = [
            entry for entry in self._entries if self._current.get(entry[-2]) == entry[-3]
        ]
        heapify(self._entries)
