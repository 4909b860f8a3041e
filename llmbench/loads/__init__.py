"""When requests are sent: a load determines the due times, and a dispatch hands out what is due.

A load of your own is written with these names.
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
