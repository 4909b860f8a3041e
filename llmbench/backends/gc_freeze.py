"""Keep the garbage collector out of a measurement."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frozen_gc() -> Iterator[list[str]]:
    """Collect and freeze garbage; yield the list of collections that happen within the context.

    Within another such context, objects stay frozen until the outer one ends.
    """
    collections: list[str] = []
    was_frozen = gc.get_freeze_count() > 0

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
        if not was_frozen:
            gc.unfreeze()
