"""Events of a Chrome trace, as torch's profiler and onnxruntime's are read.

The format is Google's Trace Event Format: ``ts`` and ``dur`` are microseconds, here since the
file's ``baseTimeNanoseconds`` on the system's clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.errors import MeasurementError

MICROSECONDS = 1e-6
OF_RUNTIME = "Node"  # what onnxruntime calls the operators of its graphs
RUN = "_kernel_time"  # how it names the event of a node that ran
STEP = re.compile(r"llmbench \w+ (\d+)")
RANGE = "user_annotation"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that took time, from ``begin`` to ``end`` in seconds since the trace's base.

    ``kind`` is its profiler's word (``cpu_op``, ``cuda_runtime``, ``kernel``, ``Node``), ``lane``
    the thread or stream that it ran on, ``correlation`` what a launch and its kernel share.
    """

    kind: str
    name: str
    begin: float
    end: float
    lane: str
    correlation: int | None = None


def read(document: dict[str, Any]) -> list[Event]:
    """Give the events of a trace that took time; those of a graph go by their operator's name."""
    return [
        _event(raw)
        for raw in document["traceEvents"]
        if raw.get("ph") == "X" and (raw.get("cat") != OF_RUNTIME or raw["name"].endswith(RUN))
    ]


def _event(raw: dict[str, Any]) -> Event:
    arguments = raw.get("args", {})
    kind, begin = raw.get("cat", ""), raw["ts"] * MICROSECONDS
    return Event(
        kind=kind,
        name=arguments["op_name"] if kind == OF_RUNTIME else raw["name"],
        begin=begin,
        end=begin + raw.get("dur", 0.0) * MICROSECONDS,
        lane=f"{raw['pid']}/{raw['tid']}",
        correlation=arguments.get("correlation"),
    )


def step_name(phase: str, number: int) -> str:
    """Name the range around a step."""
    return f"llmbench {phase} {number}"


def steps_of(events: Iterable[Event], first: int, count: int) -> list[Event]:
    """Give the ranges of so many steps from a number on, in their order.

    Raises MeasurementError when the trace has lost one.
    """
    numbered = {
        int(match[1]): event
        for event in events
        if event.kind == RANGE and (match := STEP.fullmatch(event.name))
    }
    wanted = range(first, first + count)
    if lost := [number for number in wanted if number not in numbered]:
        raise MeasurementError(
            f"the trace lacks {len(lost)} of {count} steps; ask for fewer with --steps"
        )
    return [numbered[number] for number in wanted]


def merged(document: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lay other traces of the same process on a trace's time axis, as far as it reaches."""
    seen = [raw for raw in document["traceEvents"] if raw.get("ph") == "X"]
    low, high = min(raw["ts"] for raw in seen), max(raw["ts"] + raw["dur"] for raw in seen)
    base = document["baseTimeNanoseconds"]
    moved = [raw for other in others for raw in _moved(other, base)]
    within = [raw for raw in moved if low <= raw["ts"] <= high]
    return {**document, "traceEvents": [*document["traceEvents"], *within]}


def _moved(trace: dict[str, Any], base: int) -> list[dict[str, Any]]:
    shift = (trace["baseTimeNanoseconds"] - base) / 1000
    lasting = (raw for raw in trace["traceEvents"] if raw.get("ph") == "X")
    return [{**raw, "ts": raw["ts"] + shift} for raw in lasting]
