"""What holds for all tests of the endpoint backend."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llmbench.backends import frozen_gc
from llmbench.backends.endpoint import Endpoint


@pytest.fixture(autouse=True)
def short_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every load at once: no test depends on the punctuality of its first arrivals."""
    monkeypatch.setattr(Endpoint, "lead_seconds", 0.02)
    monkeypatch.setattr(Endpoint, "lead_seconds_of_clients", 0.02)


@pytest.fixture(autouse=True, scope="module")
def one_collection() -> Iterator[None]:
    """Collect garbage once: every load would take a second to look through all imported modules."""
    with frozen_gc():
        yield
