"""Loads determine when requests are due; a Dispatch hands each to the backend at that time.

This package exports the public names for custom loads.
"""

from __future__ import annotations

from llmbench.loads.clock import Clock, MonotonicClock, VirtualClock
from llmbench.loads.dispatch import Arrivals, Dispatch, RequestOutcome
from llmbench.loads.schedule import Load, Scheduled, by_rate, offsets_until, spaced
from llmbench.loads.stopping import Stop

__all__ = [
    "Arrivals",
    "Clock",
    "Dispatch",
    "Load",
    "MonotonicClock",
    "RequestOutcome",
    "Scheduled",
    "Stop",
    "VirtualClock",
    "by_rate",
    "offsets_until",
    "spaced",
]
