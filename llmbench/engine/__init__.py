"""The local serving engine: slots, a queue and one synchronous loop."""

from __future__ import annotations

from llmbench.engine.buckets import Buckets
from llmbench.engine.engine import BatchRunner, ChunkRunner, Engine, ModelRunner
from llmbench.engine.scheduler import ContinuousScheduler, DynamicScheduler, StaticScheduler
from llmbench.engine.sequence import Sequence

__all__ = [
    "BatchRunner",
    "Buckets",
    "ChunkRunner",
    "ContinuousScheduler",
    "DynamicScheduler",
    "Engine",
    "ModelRunner",
    "Sequence",
    "StaticScheduler",
]
