"""What watches the machine meanwhile: a collector opens a probe, which a sampler process reads.

A collector of your own is written with these names.
"""

from __future__ import annotations

from llmbench.collectors.base import Collector, CollectorOptions, Conclusion, Probe, Quantity
from llmbench.runs.caveats import Caveat

__all__ = ["Caveat", "Collector", "CollectorOptions", "Conclusion", "Probe", "Quantity"]
