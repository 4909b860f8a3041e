"""The garbage collector during a measurement."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from llmbench.backends import frozen_gc, gc_freeze


@pytest.fixture
def unfrozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unfreeze the objects of all tests for one of them, and collect no garbage among them."""
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(gc_freeze, "_open", [])
    gc.unfreeze()
    yield
    gc.freeze()


def test_collections_within_the_context_are_listed() -> None:
    with frozen_gc() as collections:
        gc.collect()
    assert len(collections) >= 1


@pytest.mark.usefixtures("unfrozen")
def test_objects_stay_frozen_until_the_outer_context_ends() -> None:
    with frozen_gc():
        with frozen_gc():
            pass
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
