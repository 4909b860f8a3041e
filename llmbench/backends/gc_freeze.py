"""Keep the garbage collector out of a measurement."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_gc() -> Iterator[list[str]]:
    """Collect and freeze garbage, and list every collection that happens meanwhile."""
    collections: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            collections.append(phase)

    gc.collect()
    gc.freeze()
    gc.callbacks.append(note)
    try:
        yield collections
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()
