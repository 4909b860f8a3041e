"""The course of a long run: its quantities by span of time, and which of them drift.

docs/scenarios.md (Soak) says how to read it, docs/statistics.md how it is tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow.compute as pc

from llmbench.analysis.compare.paired import holm
from llmbench.analysis.drift import FEWEST, Drift, Shift, drift_of, shifts
from llmbench.analysis.metrics.record_arrays import (
    RecordArrays,
    flat_times,
    floats,
    interpolated,
    rows,
)
from llmbench.analysis.stats import Floats
from llmbench.runs.run import Run
from llmbench.runs.series import Series

LEAST_SECONDS = 600.0  # shorter runs are no soak
SPAN_SECONDS, MOST = 60.0, 120  # aimed length of a span, and the most spans
ALPHA = 0.05  # of any false alarm among all tests of a report
FEWEST_EFFECTIVE = 10  # independent spans that tell that there is no drift
RELEVANT = 0.02  # smaller relative changes over the run are no drift
HOUR = 3600.0
WATCHED = ("tree_rss_bytes", "harness_rss_bytes", "memory_used_bytes", "server_kv_cache_percent")


@dataclass(frozen=True, slots=True)
class Course:
    """A quantity by span of time: the median of latencies, the mean of rates and readings.

    ``times`` are the middles of the spans that have a value, in seconds of the run. ``series`` is
    that of the readings, None if the values are those of requests.
    """

    name: str
    unit: str
    times: Floats
    values: Floats
    series: Series | None = None

    @property
    def level(self) -> float:
        """The median of all spans."""
        return float(np.median(self.values))


@dataclass(frozen=True, slots=True)
class Tested:
    """A course with its drift, None for too few spans.

    ``drifts``: the drift is significant among all tests of the report, and relevant.
    """

    course: Course
    drift: Drift | None = None
    drifts: bool = False
    shifts: tuple[Shift, ...] = ()

    @property
    def is_undecided(self) -> bool:
        """Whether the spans are too strongly correlated to tell that there is no drift."""
        return bool(self.drift and not self.drifts and self.drift.effective < FEWEST_EFFECTIVE)

    @property
    def change(self) -> float:
        """The change over the run as a fraction of the level, along the slope."""
        if not self.drift:
            return 0.0
        return _relative(self.course, self.drift)


def is_soak(arrays: RecordArrays) -> bool:
    """Return whether a run is long enough for a course."""
    window = arrays.window
    return window is not None and window[1] - window[0] >= LEAST_SECONDS


def courses(run: Run, arrays: RecordArrays) -> list[Course]:
    """Return the course of every quantity that the run has, over its steady window."""
    if arrays.window is None:
        return []
    begin, end = arrays.window
    count = int(np.clip((end - begin) // SPAN_SECONDS, FEWEST, MOST))
    edges = np.linspace(begin, end, count + 1)
    of_requests = [
        _course("ttft", "s", edges, _by_span(floats(arrays.good["due"]), arrays.ttft, edges)),
        _course("itl", "s", edges, _by_span(*_gaps(arrays), edges)),
        _course("output_tokens_per_second", "tokens/s", edges, _token_rates(arrays, edges)),
    ]
    of_series = [_of_series(series, edges) for series in run.series if _is_watched(series)]
    return [course for course in (*of_requests, *of_series) if len(course.values)]


def _is_watched(series: Series) -> bool:
    return series.available and series.quantity in WATCHED


def _course(
    name: str, unit: str, edges: Floats, values: Floats, series: Series | None = None
) -> Course:
    known = ~np.isnan(values)
    middles = (edges[:-1] + edges[1:]) / 2
    return Course(name, unit, middles[known], values[known], series)


def _by_span(times: Floats, values: Floats, edges: Floats) -> Floats:
    """Return the median of the values in each span; NaN without any."""
    known = ~(np.isnan(times) | np.isnan(values))
    times, values = times[known], values[known]
    order = np.argsort(times, kind="stable")
    bounds = np.searchsorted(times[order], edges)
    parts = [values[order[a:b]] for a, b in pairwise(bounds)]
    return np.array([np.median(part) if len(part) else np.nan for part in parts])


def _gaps(arrays: RecordArrays) -> tuple[Floats, Floats]:
    """Return the end of each gap between chunks, and its length."""
    flat, ends = flat_times(arrays.good)
    return np.delete(flat[1:], ends[:-1] - 1), arrays.itl


def _token_rates(arrays: RecordArrays, edges: Floats) -> Floats:
    answered = rows(arrays.all, pc.greater(pc.list_value_length(arrays.all["token_times"]), 0))
    times, tokens = flat_times(answered)[0], floats(pc.list_flatten(answered["token_counts"]))
    counts, _ = np.histogram(interpolated(times), edges, weights=tokens)
    rates: Floats = counts / np.diff(edges)
    return rates


def _of_series(series: Series, edges: Floats) -> Course:
    bounds = np.searchsorted(series.times, edges)
    parts = [series.values[a:b] for a, b in pairwise(bounds)]
    means = np.array([part.mean() if len(part) else np.nan for part in parts])
    return _course(series.name, series.unit, edges, means, series)


# -- tests -----------------------------------------------------------------------------------------


def tested(all_courses: Sequence[Course]) -> list[Tested]:
    """Test the courses of a report together, at the family-wise level ALPHA (Holm, 1979)."""
    drifts = [_drift(course) for course in all_courses]
    tests = significant([drift.p for drift in drifts if drift])
    accepted = iter(tests)
    return [
        _tested(course, drift, len(tests), is_significant=bool(drift) and next(accepted))
        for course, drift in zip(all_courses, drifts, strict=True)
    ]


def significant(ps: Iterable[float]) -> list[bool]:
    """Return which p-values are significant at the family-wise level ALPHA."""
    array = np.array(list(ps))
    return [bool(accepted) for accepted in holm(array)] if len(array) else []


def _drift(course: Course) -> Drift | None:
    if len(course.values) < FEWEST or np.ptp(course.values) == 0:
        return None
    return drift_of(course.times, course.values)


def _tested(course: Course, drift: Drift | None, tests: int, *, is_significant: bool) -> Tested:
    if drift is None or not is_significant:
        return Tested(course, drift)
    relevant = tuple(_relevant_shifts(course, drift, ALPHA / tests)) if drift.is_shift else ()
    drifts = bool(relevant) or abs(_relative(course, drift)) >= RELEVANT
    return Tested(course, drift, drifts, relevant)


def _relevant_shifts(course: Course, drift: Drift, alpha: float) -> Iterator[Shift]:
    for shift in shifts(course.values, drift.inflation, alpha):
        if abs(shift.after - shift.before) >= RELEVANT * abs(course.level):
            yield shift


def _relative(course: Course, drift: Drift) -> float:
    span = float(course.times[-1] - course.times[0])
    return drift.slope * span / course.level if course.level else 0.0
