"""Chrome traces as the profilers write them, made by hand, and the rules of their format.

Times are in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

PHASES = set("BEXiICbnesftPNODMVvRc(),")  # the kinds of events in Google's Trace Event Format
BASE = 1_700_000_000_000_000_000


def document(*events: dict[str, Any], base: int = BASE) -> dict[str, Any]:
    return {"schemaVersion": 1, "baseTimeNanoseconds": base, "traceEvents": list(events)}


def event(cat: str, name: str, ts: float, dur: float, **more: Any) -> dict[str, Any]:
    made = {"ph": "X", "cat": cat, "name": name, "pid": 42, "tid": 42, "ts": ts, "dur": dur}
    return {**made, **more}


def step(number: int, ts: float, dur: float, phase: str = "decode") -> dict[str, Any]:
    return event("user_annotation", f"llmbench {phase} {number}", ts, dur)


def operator(name: str, ts: float, dur: float, **more: Any) -> dict[str, Any]:
    return event("cpu_op", name, ts, dur, args={"External id": 7}, **more)


def node(op_type: str, ts: float, dur: float) -> dict[str, Any]:
    """An operator of a graph, as onnxruntime writes it."""
    arguments = {"op_name": op_type, "provider": "CPUExecutionProvider", "node_index": "3"}
    return event("Node", f"/layers.0/{op_type}_kernel_time", ts, dur, args=arguments)


def launch(correlation: int, ts: float, name: str = "cudaLaunchKernel") -> dict[str, Any]:
    return event("cuda_runtime", name, ts, 3, args={"cbid": 211, "correlation": correlation})


def kernel(
    name: str, ts: float, dur: float, correlation: int, *, stream: int = 7, cat: str = "kernel"
) -> dict[str, Any]:
    arguments = {
        "External id": 7, "device": 0, "context": 1, "stream": stream, "correlation": correlation,
        "registers per thread": 64, "grid": [1, 1, 1], "block": [128, 1, 1],
    }  # fmt: skip
    return event(cat, name, ts, dur, pid=0, tid=stream, args=arguments)


def violations(document: dict[str, Any]) -> list[str]:
    """List what would keep a viewer from showing a trace as it was."""
    found = [
        f"{event}: {wrong}" for event in document["traceEvents"] for wrong in _wrong_with(event)
    ]
    if not isinstance(document.get("baseTimeNanoseconds"), int):
        found.append("baseTimeNanoseconds")
    return found


def _wrong_with(event: dict[str, Any]) -> Iterator[str]:
    if event.get("ph") not in PHASES:
        yield "ph"
    yield from (key for key in ("name",) if not isinstance(event.get(key), str))
    yield from (key for key in ("pid", "tid") if not isinstance(event.get(key), int | str))
    timed = ("ts", "dur") if event.get("ph") == "X" else ("ts",)
    for key in timed if event.get("ph") != "M" else ():
        if not isinstance(event.get(key), int | float) or event[key] < 0:
            yield key
    if not isinstance(event.get("args", {}), dict):
        yield "args"
