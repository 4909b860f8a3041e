"""What holds for all tests of the endpoint backend."""

from __future__ import annotations

import pytest

from llmbench.backends.endpoint import Endpoint


@pytest.fixture(autouse=True)
def short_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start every load at once: no test depends on the punctuality of its first arrivals."""
    monkeypatch.setattr(Endpoint, "lead_seconds", 0.02)
    monkeypatch.setattr(Endpoint, "lead_seconds_of_clients", 0.02)
