"""How equal request classes are, and the servers or replicas of a backend: indexes and ratios.

docs/metrics.md has what the indexes are over and how to read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.stats import Floats
from llmbench.analysis.values import Value
from llmbench.errors import Unavailable

LATENCIES = ("ttft", "tpot")
CLASS_KEYS = tuple(f"class_{what}_{key}" for key in LATENCIES for what in ("fairness", "ratio"))
BALANCE_KEYS = ("balance_fairness", "balance_max_mean", "balance_ratio_ttft")
KEYS = (*CLASS_KEYS, *BALANCE_KEYS)
CLASSES, SERVERS, REPLICAS = "request_class", "url", "replica"
ALONE = {
    CLASSES: "there are not several request classes",
    SERVERS: "there is one server",
    REPLICAS: "there is one replica",
}

Amounts = Sequence[float] | Floats


def jain_index(amounts: Amounts) -> float:
    """Jain's fairness index J = (Σ x)² / (n Σ x²).

    where x are the amounts of n parties, none negative and not all 0. It is 1 if all are equal, and
    1/n if one party has everything. Source: Jain, Chiu, Hawe, A Quantitative Measure of Fairness
    and Discrimination for Resource Allocation in Shared Computer Systems, DEC-TR-301, 1984.
    """
    x = np.asarray(amounts, float) / np.max(amounts)  # whose squares neither over- nor underflow
    return float(x.sum() ** 2 / (len(x) * (x**2).sum()))


def widest_ratio(amounts: Amounts) -> float:
    """Return the largest amount divided by the smallest: 1 if all are equal."""
    return float(np.max(amounts) / np.min(amounts))


def max_to_mean(amounts: Amounts) -> float:
    """Return the largest amount divided by the mean: 1 if all are equal, n if one has all."""
    return float(np.max(amounts) / np.mean(amounts))


def fairness(arrays: RecordArrays) -> dict[str, Value]:
    """Return the metrics of KEYS: of classes' median latencies, and of servers or replicas.

    ``class_fairness_…`` is Jain's index and ``class_ratio_…`` the worst divided by the best, where
    x are the medians of the classes' TTFT or TPOT. ``balance_fairness`` is Jain's index of the
    output tokens of the successful requests of each server or replica, ``balance_max_mean`` the
    most of these tokens divided by their mean, and ``balance_ratio_ttft`` the worst median TTFT
    divided by the best.
    """
    values: dict[str, Value] = {}
    for key in LATENCIES:
        names = (f"class_fairness_{key}", f"class_ratio_{key}")
        values |= dict(zip(names, _of_medians(arrays, CLASSES, key), strict=True))
    column = SERVERS if arrays.measured[REPLICAS].null_count == len(arrays.measured) else REPLICAS
    _, ratio = _of_medians(arrays, column, "ttft")
    return {**values, **dict(zip(BALANCE_KEYS, (*_of_tokens(arrays, column), ratio), strict=True))}


def _of_medians(arrays: RecordArrays, column: str, latency: str) -> tuple[Value, Value]:
    """Return Jain's index and the widest ratio of the parties' median latencies."""
    try:
        medians = [
            _median(getattr(arrays, latency)[mask], _named(name, column))
            for name, mask in _parties(arrays, column).items()
        ]
    except Unavailable as reason:
        value = Value.unavailable(str(reason))
        return value, value
    if min(medians) <= 0:
        value = Value.unavailable("a median is 0")
        return value, value
    return Value(jain_index(medians), len(medians)), Value(widest_ratio(medians), len(medians))


def _of_tokens(arrays: RecordArrays, column: str) -> tuple[Value, Value]:
    """Return Jain's index of the parties' output tokens, and the most divided by the mean."""
    try:
        parties = _parties(arrays, column)
    except Unavailable as reason:
        value = Value.unavailable(str(reason))
        return value, value
    tokens = floats(arrays.good["output_tokens"])
    amounts = [float(tokens[mask].sum()) for mask in parties.values()]
    if not any(amounts):
        value = Value.unavailable("no request succeeded")
        return value, value
    return Value(jain_index(amounts), len(amounts)), Value(max_to_mean(amounts), len(amounts))


def _named(name: object, column: str) -> str:
    return f"{column} {name}" if column == REPLICAS else str(name)


def _median(latencies: Floats, name: str) -> float:
    known = latencies[~np.isnan(latencies)]
    if not len(known):
        raise Unavailable(f"no request of {name} has this latency")
    return float(np.median(known))


def _parties(arrays: RecordArrays, column: str) -> dict[Any, NDArray[np.bool_]]:
    """Return which successful requests are those of each party, which has measured requests.

    Raises Unavailable for fewer than two parties.
    """
    names = sorted(set(pc.unique(arrays.measured[column]).to_pylist()) - {None})
    if len(names) < 2:  # noqa: PLR2004 (a comparison)
        raise Unavailable(ALONE[column])
    own = arrays.good[column]
    return {
        name: np.asarray(pc.fill_null(pc.equal(own, name), fill_value=False).to_numpy(), bool)
        for name in names
    }
