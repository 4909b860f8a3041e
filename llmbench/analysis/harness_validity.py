"""Whether the harness kept up, so that measured latencies are those of the backend.

docs/metrics.md has the rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from llmbench.analysis.metrics import LATENCIES, RecordArrays
from llmbench.analysis.metrics.catalog import PERCENTILES
from llmbench.analysis.metrics.record_arrays import floats
from llmbench.analysis.stats import Floats, min_samples_for_percentile, percentile
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet
from llmbench.units import format_duration

Rating = Literal["valid", "unknown", "degraded", "invalid"]
RATINGS: tuple[Rating, ...] = ("valid", "unknown", "degraded", "invalid")
BY_BOUNDS: tuple[Rating, ...] = ("valid", "degraded", "invalid")

# bounds of degraded and invalid: a fraction of the percentile, but at least MIN_ADDED_SECONDS
ADDED_SHARE = (0.05, 0.20)
MIN_ADDED_SECONDS = 0.001
CORE_SHARE = (0.7, 0.95)
ADDED_TO = ("ttft", "tpot", "e2e")


@dataclass(frozen=True, slots=True)
class Validity:
    """Whether a run's harness kept up with the load, with the symptoms if it may not have.

    ``unknown``: no symptoms, but too little data for ``valid``. ``added`` has the seconds that the
    harness added to each latency percentile (see `added_to`).
    """

    verdict: Rating
    reasons: tuple[str, ...] = ()
    added: dict[str, float] = field(default_factory=dict)


def validity_of(run: Run, arrays: RecordArrays | None = None) -> Validity:
    """Judge a measured run from its backend's report and its records.

    ``arrays`` are its records as arrays, if already computed.
    """
    arrays = arrays or RecordArrays(run.records)
    added = added_to(run, arrays)
    symptoms = [s for s in _symptoms(run, arrays, added) if s[0] != "valid"]
    ratings: list[Rating] = ["valid", *(rating for rating, _ in symptoms)]
    reasons = tuple(reason for _, reason in symptoms)
    return Validity(max(ratings, key=RATINGS.index), reasons, added)


def worst_validity(validities: list[Validity]) -> Validity:
    """Return the worst validity of a case's processes, with the most that any added."""
    worst = max(validities, key=lambda v: RATINGS.index(v.verdict), default=Validity("valid"))
    keys = dict.fromkeys(key for validity in validities for key in validity.added)
    added = {key: max(v.added.get(key, -np.inf) for v in validities) for key in keys}
    return replace(worst, added=added)


def validity_by_case(run_set: RunSet) -> dict[str, Validity]:
    """Judge every measured case of a run set."""
    return {
        case: worst_validity([validity_of(run) for run in runs])
        for case, runs in run_set.by_case().items()
        if runs
    }


def added_to(run: Run, arrays: RecordArrays) -> dict[str, float]:
    """Return the seconds that the harness added to each percentile that its sample supports.

    Pₚ(L) − Pₚ(L − λ), where L are the latencies of the requests and λ their known lags: for TTFT
    and E2E the send lag, of a local engine only the idle lag, and the lag of the first or last
    stamp; for TPOT the difference of both stamps' lags per token. A stamp's lag is 0 if unknown.
    """
    added: dict[str, float] = {}
    for key, (latency, lag) in _known_lags(run, arrays).items():
        supported = [p for p in PERCENTILES if len(latency) >= min_samples_for_percentile(p)]
        if supported:
            seconds = np.percentile(latency, supported) - np.percentile(latency - lag, supported)
            added |= {f"{key}_p{p}": float(s) for p, s in zip(supported, seconds, strict=True)}
    return added


def _known_lags(run: Run, arrays: RecordArrays) -> dict[str, tuple[Floats, Floats]]:
    """Return the known latencies and their lags, by latency."""
    good = arrays.good
    is_client = bool(run.backend_report.get("client"))
    sent = floats(good["sent"]) - floats(good["due"]) if is_client else arrays.idle_lag
    first, last = (np.nan_to_num(floats(good[f"{end}_stamp_lag"])) for end in ("first", "last"))
    gaps = np.maximum(floats(good["output_tokens"]) - 1, 1)
    lags = {"ttft": sent + first, "tpot": (last - first) / gaps, "e2e": sent + last}
    known = {key: ~np.isnan(getattr(arrays, key) + lags[key]) for key in ADDED_TO}
    return {key: (getattr(arrays, key)[known[key]], lags[key][known[key]]) for key in ADDED_TO}


def _symptoms(
    run: Run, arrays: RecordArrays, added: dict[str, float]
) -> Iterator[tuple[Rating, str]]:
    client = run.backend_report.get("client") or {}
    if tool := client.get("tool"):
        yield "unknown", f"{tool} does not report whether its client kept up"
    elif run.summary is not None:
        yield "unknown", "a baseline file does not say whether the harness kept up"
    if lag := _reported_lag(run):
        yield lag
    if "loop_lag_p99" in client and arrays.good["last_stamp_lag"].null_count:
        yield "unknown", "a run of version 0.2 or older lacks the lag of its stamps"
    if added:
        yield max(_of_added(arrays, added), key=lambda symptom: RATINGS.index(symptom[0]))
    share = client.get("core_share")
    if share is not None:
        yield _rated(share, CORE_SHARE), f"the client used {share:.0%} of its CPU core"


def _reported_lag(run: Run) -> tuple[Rating, str] | None:
    """Return the rating of the lag that a tool without requests reports; None if it reports none.

    Its latencies exclude the lag, so its p99 is judged by the bounds of the TTFT's p99.
    """
    lag, ttft = ((run.summary or {}).get(key) for key in ("send_lag_p99", "service_ttft_p99"))
    if not lag or not ttft:
        return None
    bounds = [max(share * ttft[0], MIN_ADDED_SECONDS) for share in ADDED_SHARE]
    reason = f"it sent requests up to {format_duration(lag[0])} late (p99)"
    return _rated(lag[0], bounds), reason


def _of_added(arrays: RecordArrays, added: dict[str, float]) -> Iterator[tuple[Rating, str]]:
    for key, seconds in added.items():
        latency, _, p = key.rpartition("_p")
        sample = getattr(arrays, latency)
        value = percentile(sample[~np.isnan(sample)], float(p))
        bounds = [max(share * value, MIN_ADDED_SECONDS) for share in ADDED_SHARE]
        reason = f"it added {format_duration(seconds)} to {LATENCIES[latency]} p{p}"
        yield _rated(abs(seconds), bounds), f"{reason}, {format_duration(value)}"


def _rated(value: float, bounds: Sequence[float]) -> Rating:
    return BY_BOUNDS[sum(value > bound for bound in bounds)]
