"""Workloads determine the content of requests; a seed always yields the same requests.

This package exports the public names for custom workloads.
"""

from __future__ import annotations

from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request, Turn
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.contents import Contents
from llmbench.workloads.lengths import Length, Lengths

__all__ = ["Contents", "Length", "Lengths", "Request", "Tokenizer", "Turn", "Workload", "stream"]
