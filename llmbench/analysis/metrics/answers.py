"""Answers that must have a form: the share that has it, and what asking for it costs."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.values import Value, unavailable

COSTS = ("ttft", "tpot", "e2e")
COST_KEYS = tuple(f"constrained_{latency}_ratio" for latency in COSTS)
UNCONSTRAINED = "no request constrains its answer"


def answer_values(arrays: RecordArrays) -> dict[str, Value]:
    """Return the share of valid answers and the cost of constraints."""
    constrained = arrays.good["constraint"]
    if constrained.null_count == len(constrained):
        return unavailable(("valid_answers", *COST_KEYS), UNCONSTRAINED)
    return {"valid_answers": _valid(arrays.good), **_costs(arrays)}


def _valid(good: pa.Table) -> Value:
    """Valid answers = v / n.

    where n is the number of complete answers that were judged, and v that of valid ones.
    """
    valid = good["valid"].drop_null()
    if not len(valid):
        reasons = good["invalid_reason"].drop_null()
        return Value.unavailable(reasons[0].as_py() if len(reasons) else "no answer was validated")
    return Value(pc.sum(valid).as_py() / len(valid), len(valid))


def _costs(arrays: RecordArrays) -> dict[str, Value]:
    """Return the ratio of each latency with a constraint to that without it.

    exp(mean over p of ln(mean of x / mean of y)), where p are the prompts that were sent both ways,
    and x and y their latencies with and without the constraint.
    """
    table = arrays.good.select(["prompt_id"]).append_column(
        "constrained", pc.is_valid(arrays.good["constraint"])
    )
    return {
        key: _ratio(table.append_column("latency", pa.array(getattr(arrays, latency))))
        for key, latency in zip(COST_KEYS, COSTS, strict=True)
    }


def _ratio(table: pa.Table) -> Value:
    known = table.filter(pc.and_(pc.is_finite(table["latency"]), pc.is_valid(table["prompt_id"])))
    means = known.group_by(["prompt_id", "constrained"]).aggregate([("latency", "mean")])
    sides = [
        means.filter(pc.equal(means["constrained"], pa.scalar(side))).drop(["constrained"])
        for side in (True, False)
    ]
    paired = sides[0].join(sides[1], "prompt_id", join_type="inner", right_suffix="_free")
    with_it, without = floats(paired["latency_mean"]), floats(paired["latency_mean_free"])
    positive = (with_it > 0) & (without > 0)
    if not positive.any():
        return Value.unavailable("no prompt was sent with and without its constraint")
    logs = np.log(with_it[positive] / without[positive])
    return Value(float(np.exp(logs.mean())), len(logs))
