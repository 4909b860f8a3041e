"""Where the time of a local engine went: prefill steps, decode steps, and waiting for requests."""

from __future__ import annotations

from typing import Any

from llmbench.analysis.values import Value, unavailable
from llmbench.runs.series import Series

ACTIVITIES = ("prefill", "decode", "idle")
SHARES = tuple(f"engine_{activity}_share" for activity in ACTIVITIES)
BATCH = "engine_batch_mean"
KEYS = (*SHARES, BATCH)
SERIES = {f"engine_{activity}_percent": activity for activity in ACTIVITIES}
UNREPORTED = "the backend does not report the steps of its engine"


def engine_time(backend_report: dict[str, Any]) -> dict[str, Value]:
    """Return the metrics of KEYS: shares of an engine's time by activity, and its mean batch.

    share = tₐ / (t_prefill + t_decode + t_idle), where tₐ are the seconds of an activity from the
    start of the load to its last step. A step includes the engine's own work before it, so that
    the shares add up to 1. Mean batch = sequences of all decode steps / decode steps.
    """
    steps = backend_report.get("engine_steps") or {}
    if not steps:
        return unavailable(
            KEYS, (backend_report.get("reasons") or {}).get("engine_steps", UNREPORTED)
        )
    counts, seconds = steps["counts"], steps["seconds"]
    if not (total := sum(seconds.values())):
        return unavailable(KEYS, "the load took no time")
    shares = {
        share: Value(seconds[activity] / total, counts[activity])
        for share, activity in zip(SHARES, ACTIVITIES, strict=True)
    }
    return {**shares, BATCH: _mean_batch(steps["decoded_sequences"], counts["decode"])}


def _mean_batch(sequences: int, steps: int) -> Value:
    return Value(sequences / steps, steps) if steps else Value.unavailable("no decode step ran")


def activity_of(series: Series) -> str | None:
    """Return the activity whose share of an engine's time a series has, or None for others."""
    return SERIES.get(series.name)
