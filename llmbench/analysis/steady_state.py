"""The warm-up of a load: the requests before steady state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy  # imports scipy.stats lazily
from numpy.typing import ArrayLike, NDArray

from llmbench.analysis.stats import effective_size
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record

METHOD = "MSER-5 with t tests on batch means"
FEWEST = 100  # values that are judged
GROUP = 5
BATCHES = (4, 20)  # fewest and most
BATCH_TIMES = 8  # length of a batch in autocorrelation times, if there are enough
RISK = 0.01  # of calling a steady series unsteady, and of excluding something needlessly
RELEVANT = 0.02  # smaller relative differences are ignored

Floats = NDArray[np.float64]


class WarmUp(NamedTuple):
    """Records with the warm-up requests marked, facts to be stored with the run, and caveats."""

    records: list[Record]
    facts: dict[str, Any]
    caveats: tuple[Caveat, ...] = ()


def find_warmup(records: Sequence[Record]) -> WarmUp:
    """Find the warm-up of a run: it ends when both TTFT and TPOT are steady.

    If either keeps drifting, or if there are too few requests to know, no request is marked and
    the number of warm-up requests is None.
    """
    ordered = sorted(records, key=lambda record: (record.due, record.request_id))
    good = [record for record in ordered if record.succeeded and record.phase != "drain"]
    if len(good) < FEWEST:
        caveat = Caveat("warmup-unknown", requests=len(good), least=FEWEST)
        return WarmUp(ordered, _facts(None), (caveat,))
    ends = [_end([(r.due, r.token_times[0] - r.due) for r in good]), _end(_tpots(good))]
    if None in ends:
        return WarmUp(ordered, _facts(None), (Caveat("never-steady", method=METHOD),))
    begin = max(end for end in ends if end is not None)
    is_before = [record.due < begin and record.phase != "drain" for record in ordered]
    marked = [
        replace(record, phase="warmup") if before else record
        for record, before in zip(ordered, is_before, strict=True)
    ]
    return WarmUp(marked, _facts(sum(is_before)))


def _facts(requests: int | None) -> dict[str, Any]:
    return {"warmup_method": METHOD, "warmup_requests": requests}


def _tpots(records: Sequence[Record]) -> list[tuple[float, float]]:
    several = [r for r in records if r.output_tokens > 1 and len(r.token_times) > 1]
    return [
        (r.due, (r.token_times[-1] - r.token_times[0]) / (r.output_tokens - 1)) for r in several
    ]


def _end(points: list[tuple[float, float]]) -> float | None:
    """Return the due time at which values become steady; −infinity if they are too few to tell."""
    if len(points) < FEWEST:
        return float("-inf")
    begin = steady_from([value for _, value in points])
    return None if begin is None else points[begin][0]


def steady_from(values: ArrayLike) -> int | None:
    """Return the number of leading warm-up values; None if the other values still drift.

    MSER-5 proposes the warm-up, which counts if it differs from the other values by more than their
    autocorrelation explains. Both tests use normal scores, so that single slow requests have little
    weight, and ignore differences of less than RELEVANT. Expects FEWEST values or more.
    """
    series = np.asarray(values, dtype=np.float64)
    cut = mser(series)
    if not any(_differs(series, head, cut) for head in {min(GROUP, cut), cut} - {0}):
        cut = 0
    return None if _drifts(series[cut:]) else cut


def mser(series: Floats) -> int:
    """Return the number of leading values, at most half, without which the mean is most precise.

    MSER-5: d* = argmin over d ≤ m / 2 of Σᵢ₌d (zᵢ − z̄_d)² / (m − d)², where z are m means of five
    values each and z̄_d is the mean from z_d on. Source: White, An Effective Truncation Heuristic
    for Bias Reduction in Simulation Output, 1997.
    """
    means = _means(series, len(series) // GROUP)
    centered = (means - means.mean())[::-1]
    left = np.arange(1, len(means) + 1)
    squares = np.cumsum(centered**2) - np.cumsum(centered) ** 2 / left
    errors = (squares / left**2)[::-1][: len(means) // 2 + 1]
    rounding = 1e-12 * errors.max()
    return int(np.flatnonzero(errors <= errors.min() + rounding)[0]) * GROUP


def _differs(series: Floats, head: int, cut: int) -> bool:
    """Check whether the first ``head`` values differ from those after ``cut``.

    t = |x̄_h − x̄| / √(λ (1 / h + 1 / m)), where x̄_h is the mean of h first scores, x̄ that of the m
    scores after ``cut``, and λ = l s² their long-run variance from b batches of l scores whose
    means have the variance s²; b − 1 degrees of freedom, and half the risk, since there are two
    such tests. Source: Law, Simulation Modeling and Analysis, 9.5.3 (batch means).
    """
    if not _is_relevant(series[:head].mean(), series[cut:].mean()):
        return False
    scores = _normal_scores(series)
    rest = scores[cut:]
    means = _batch_means(rest, rest)
    variance = max(len(rest) // len(means) * means.var(ddof=1), rest.var())
    error = np.sqrt(variance * (1 / head + 1 / len(rest)))
    critical = scipy.special.stdtrit(len(means) - 1, 1 - RISK / 4)
    return bool(abs(scores[:head].mean() - rest.mean()) > critical * error)


def _drifts(series: Floats) -> bool:
    """Check whether a series has a trend: a t test of the slope of its batch means."""
    if not _is_relevant(*_means(series, 2)):
        return False
    scores = _normal_scores(series)
    times = np.arange(len(scores))
    detrended = scores - scipy.stats.linregress(times, scores).slope * times
    means = _batch_means(scores, detrended)
    return bool(scipy.stats.linregress(np.arange(len(means)), means).pvalue < RISK)


def _is_relevant(before: float, after: float) -> bool:
    return abs(after - before) > RELEVANT * (before + after) / 2


def _batch_means(scores: Floats, steady: Floats) -> Floats:
    """Return means of batches much longer than the autocorrelation time of a ``steady`` series."""
    return _means(scores, int(np.clip(effective_size(steady) / BATCH_TIMES, *BATCHES)))


def _means(series: Floats, batches: int) -> Floats:
    """Return the means of equal batches; what does not fill one is left out at the end."""
    means: Floats = series[: len(series) // batches * batches].reshape(batches, -1).mean(axis=1)
    return means


def _normal_scores(series: Floats) -> Floats:
    """Return Φ⁻¹(rᵢ / (n + 1)), where rᵢ is the rank of value i of n (van der Waerden 1952)."""
    scores: Floats = scipy.special.ndtri(scipy.stats.rankdata(series) / (len(series) + 1))
    return scores
