"""What is sent: a workload yields requests, the same ones for the same seed.

A workload of your own is written with these names.
"""

from __future__ import annotations

from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request, Turn
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.lengths import Length, Lengths

__all__ = ["Length", "Lengths", "Request", "Tokenizer", "Turn", "Workload", "stream"]
