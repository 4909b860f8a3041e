"""Keep garbage collections short during imports and measurements, and count them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_open: list[list[str]] = []  # a list for each context; to count frozen objects takes 0.05 s


@contextmanager
def paused_gc() -> Iterator[None]:
    """Pause garbage collection during imports, which create millions of objects and no garbage.

    Collections take 15 % of the time in which torch and transformers are imported.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def frozen_gc() -> Iterator[list[str]]:
    """Collect garbage, freeze all objects and yield a list that gets an entry per collection.

    In nested contexts, objects stay frozen until the outermost one ends.
    """
    collections: list[str] = []

    def note(phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            collections.append(phase)

    gc.collect()
    gc.freeze()
    gc.callbacks.append(note)
    _open.append(collections)
    try:
        yield collections
    finally:
        gc.callbacks.remove(note)
        _open.pop()
        if not _open:
            gc.unfreeze()
