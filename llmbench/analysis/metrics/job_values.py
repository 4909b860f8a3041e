"""The metrics of agents' jobs."""

from __future__ import annotations

import numpy as np

from llmbench.analysis.jobs import Jobs, cache_hits
from llmbench.analysis.metrics.catalog import JOB_TIMES, PATH_PARTS, PERCENTILES
from llmbench.analysis.metrics.record_arrays import RecordArrays, within
from llmbench.analysis.values import NO_WINDOW, Value, unavailable

NO_JOBS = "the workload has no jobs"
NONE_COMPLETE = "no measured job is complete"
PART_UNREPORTED = "the server does not report it for each response; it is part of the rest"
NO_CACHE = "no response has a report of cached tokens"
(TIME,) = JOB_TIMES
TIMES = (*(f"{TIME}_p{percent}" for percent in PERCENTILES), f"{TIME}_mean")
PARTS = {f"job_path_{part}_seconds": part for part in PATH_PARTS}
KEYS = (*TIMES, "jobs_per_hour", "failed_jobs", *PARTS, "job_cached_share")
SECONDS_PER_HOUR = 3600


def job_values(arrays: RecordArrays) -> dict[str, Value]:
    """Return the metrics of the measured jobs: those whose first request is measured."""
    jobs = arrays.jobs
    if not jobs.all:
        return unavailable(KEYS, NO_JOBS)
    return {
        **_times(jobs),
        "jobs_per_hour": _rate(arrays),
        "failed_jobs": Value(jobs.failed, jobs.judged),
        **_paths(jobs),
        "job_cached_share": _cached(jobs),
    }


def _times(jobs: Jobs) -> dict[str, Value]:
    """Return percentiles and mean of the job time = t[last of all requests] − due of the first."""
    seconds = jobs.seconds
    if not len(seconds):
        return unavailable(TIMES, NONE_COMPLETE)
    statistics = (*np.percentile(seconds, PERCENTILES), np.mean(seconds))
    values = (Value(float(statistic), len(seconds)) for statistic in statistics)
    return dict(zip(TIMES, values, strict=True))


def _rate(arrays: RecordArrays) -> Value:
    """Jobs per hour = 3600 n / T, n jobs being complete within the steady window of T seconds."""
    if arrays.window is None:
        return Value.unavailable(NO_WINDOW)
    begin, end = arrays.window
    ends = np.array([job.end for job in arrays.jobs.complete], dtype=np.float64)
    number = int(within(ends, begin, end).sum())
    return Value(SECONDS_PER_HOUR * number / (end - begin), number)


def _paths(jobs: Jobs) -> dict[str, Value]:
    """Return the mean seconds of each part of the critical path; see analysis.critical_path."""
    from llmbench.analysis.critical_path import critical_paths  # noqa: PLC0415 (it imports metrics)

    if not jobs.complete:
        return unavailable(PARTS, NONE_COMPLETE)
    parts = critical_paths([jobs])
    return {
        key: Value(float(parts[part].mean()), len(parts[part]))
        if part in parts
        else Value.unavailable(PART_UNREPORTED)
        for key, part in PARTS.items()
    }


def _cached(jobs: Jobs) -> Value:
    """Cached share = Σ cached prompt tokens / Σ prompt tokens, of responses that report them."""
    hits = cache_hits([jobs]).values()
    cached, prompts = (sum(tokens) for tokens in zip(*hits, strict=True)) if hits else (0, 0)
    return Value(cached / prompts, prompts) if prompts else Value.unavailable(NO_CACHE)
