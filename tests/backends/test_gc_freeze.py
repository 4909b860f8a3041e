"""The garbage collector during a measurement."""

from __future__ import annotations

import gc

from llmbench.backends import frozen_gc


def test_collections_within_the_context_are_listed() -> None:
    with frozen_gc() as collections:
        gc.collect()
    assert len(collections) >= 1


def test_objects_stay_frozen_until_the_outer_context_ends() -> None:
    gc.unfreeze()  # other libraries freeze objects, too
    with frozen_gc():
        with frozen_gc():
            pass
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
