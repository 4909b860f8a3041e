"""What the queue of a local engine did to requests besides delaying them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.compute as pc

from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.values import Value, unavailable

KEYS = ("rejected_requests", "preemptions")


def admission(arrays: RecordArrays, engine: Mapping[str, Any]) -> dict[str, Value]:
    """Return the number of rejected requests, and how often requests lost their slots.

    Both are of measured requests. Rejected requests are among the failed ones; each of a request's
    preemptions counts.
    """
    measured = arrays.measured
    preemptions = floats(measured["preemptions"])
    if np.isnan(preemptions).all():
        return unavailable(KEYS, "the requests do not wait in the queue of llmbench's engine")
    rejected = pc.sum(pc.equal(measured["finish"], "rejected")).as_py()
    values = {
        KEYS[0]: Value(rejected, measured.num_rows),
        KEYS[1]: Value(int(np.nansum(preemptions)), measured.num_rows),
    }
    if engine.get("max_queue") is None:
        values[KEYS[0]] = Value.unavailable("the scenario sets no `engine.max_queue`")
    if not (engine.get("queue") or {}).get("preempt"):
        values[KEYS[1]] = Value.unavailable("the scenario's `engine.queue` does not preempt")
    return values
