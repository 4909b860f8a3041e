"""Collectors of machine telemetry: a collector opens a probe, which a sampler process reads.

These names are the interface for collectors of your own.
"""

from __future__ import annotations

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.runs.caveats import Caveat

__all__ = ["Caveat", "Collector", "CollectorOptions", "Conclusion", "Probe", "Quantity"]
