"""Collectors of machine telemetry: a collector opens a probe, which a sampler process reads.

The names exported here are the interface for writing your own collectors.
"""

from __future__ import annotations

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.runs.caveats import Caveat

__all__ = ["Caveat", "Collector", "CollectorOptions", "Conclusion", "Probe", "Quantity"]
