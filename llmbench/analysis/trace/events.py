"""Events of the Chrome traces that the torch and onnxruntime profilers write.

Source: Google's Trace Event Format. ``ts`` and ``dur`` are microseconds, relative to the file's
``baseTimeNanoseconds`` on the system clock.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.errors import MeasurementError

MICROSECONDS = 1e-6
OF_RUNTIME = "Node"  # onnxruntime's category of graph operators
RUN = "_kernel_time"  # suffix of its node execution events
STEP = re.compile(r"llmbench \w+ (\d+)")
RANGE = "user_annotation"


@dataclass(frozen=True, slots=True)
class Event:
    """An event with a duration, from ``begin`` to ``end`` in seconds since the trace's base.

    ``kind`` is its category (``cpu_op``, ``cuda_runtime``, ``kernel``, ``Node``), ``lane`` its
    thread or stream, ``correlation`` the id shared by a launch and its kernel.
    """

    kind: str
    name: str
    begin: float
    end: float
    lane: str
    correlation: int | None = None


def events_of(document: dict[str, Any]) -> list[Event]:
    """Return a trace's events with durations; graph nodes are named by operator."""
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
    """Return the name of the trace range of a step."""
    return f"llmbench {phase} {number}"


def steps_of(events: Iterable[Event], first: int, count: int) -> list[Event]:
    """Return the trace events of ``count`` steps in order, starting at step ``first``.

    Raise MeasurementError if the trace lacks a step.
    """
    numbered = {
        int(match[1]): event
        for event in events
        if event.kind == RANGE and (match := STEP.fullmatch(event.name))
    }
    numbers = range(first, first + count)
    if missing := [number for number in numbers if number not in numbered]:
        raise MeasurementError(
            f"the trace lacks {len(missing)} of {count} steps; request fewer with --steps"
        )
    return [numbered[number] for number in numbers]


def merged(document: dict[str, Any], others: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a trace with the events of the process's other traces within its time range."""
    timed = [raw for raw in document["traceEvents"] if raw.get("ph") == "X"]
    low, high = min(raw["ts"] for raw in timed), max(raw["ts"] + raw["dur"] for raw in timed)
    base = document["baseTimeNanoseconds"]
    shifted = [raw for other in others for raw in _shifted(other, base)]
    within = [raw for raw in shifted if low <= raw["ts"] <= high]
    return {**document, "traceEvents": [*document["traceEvents"], *within]}


def _shifted(trace: dict[str, Any], base: int) -> list[dict[str, Any]]:
    shift = (trace["baseTimeNanoseconds"] - base) / 1000
    lasting = (raw for raw in trace["traceEvents"] if raw.get("ph") == "X")
    return [{**raw, "ts": raw["ts"] + shift} for raw in lasting]
