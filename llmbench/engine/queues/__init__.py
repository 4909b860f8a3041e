"""Queue policies: which waiting request gets the next free slot."""

from __future__ import annotations

from llmbench.engine.queues.base import WaitingQueue
from llmbench.engine.queues.fifo import Fifo

__all__ = ["Fifo", "WaitingQueue"]
