"""Covariates of a changed metric: clocks, throttling, other load, tokens, recompilations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from llmbench.analysis.compare.differences import Difference
from llmbench.analysis.compare.verdicts import p_of_shift
from llmbench.analysis.metrics import RecordArrays, series_mean
from llmbench.environment.nvml import POWER_CAP, THROTTLED
from llmbench.runs.run import Run

ALPHA = 0.05

Reader = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True)
class Covariate:
    """A recorded quantity that differs between the sides: medians over processes, or versions.

    ``p`` is the two-sided Mann-Whitney p-value, None if not numeric.
    """

    what: str
    baseline: str
    candidate: str
    p: float | None = None


def covariates(
    baseline: Sequence[Run], candidate: Sequence[Run], differences: Sequence[Difference]
) -> tuple[Covariate, ...]:
    """Return the covariates that changed between the runs of two sides.

    A covariate need not be the cause. If there is none, the code may be the cause.
    """
    moved = (
        _covariate(what, [read(run) for run in baseline], [read(run) for run in candidate])
        for what, read in _readers(baseline)
    )
    software = [
        Covariate(difference.what, difference.baseline, difference.candidate)
        for difference in differences
        if difference.kind == "software"
    ]
    return (*(covariate for covariate in moved if covariate), *software)


def _covariate(
    what: str, baseline: Sequence[float | None], candidate: Sequence[float | None]
) -> Covariate | None:
    """Return a quantity's shift between the sides; None if not significant or if a run lacks it."""
    before, after = ([v for v in side if v is not None] for side in (baseline, candidate))
    if (len(before), len(after)) != (len(baseline), len(candidate)) or not (before and after):
        return None
    p = p_of_shift(before, after)
    if p > ALPHA:
        return None
    return Covariate(what, f"{median(before):.4g}", f"{median(after):.4g}", p)


# -- readers --------------------------------------------------------------------------------------


def _readers(runs: Sequence[Run]) -> Iterator[tuple[str, Reader]]:
    yield "output tokens per request", _tokens
    yield "mean sequences per step", _occupancy
    for counter in ("compiles_in_window", "graph_breaks", "gc_collections"):
        yield counter.replace("_", " "), partial(_at, "backend_report", "counters", counter)
    yield "CPU steal time (%)", partial(_at, "facts", "stolen_percent")
    yield "CPU use by others (%)", partial(_at, "facts", "other_load_percent")
    yield "CPU clock (Hz)", partial(_mean, "cpu_frequency_hertz", None)
    yield "CPU busy (%)", partial(_mean, "system_cpu_percent", None)
    for device in dict.fromkeys(s.device or "" for r in runs for s in r.series):
        if device.startswith("gpu"):
            yield from _gpu_readers(device)


def _gpu_readers(gpu: str) -> Iterator[tuple[str, Reader]]:
    yield f"{gpu} SM clock (Hz)", partial(_mean, "sm_clock_hertz", gpu)
    yield f"{gpu} memory clock (Hz)", partial(_mean, "memory_clock_hertz", gpu)
    yield f"{gpu} power (W)", partial(_mean, "power_instant_watts", gpu)
    yield f"{gpu} busy (%)", partial(_mean, "busy_percent", gpu)
    yield f"{gpu} temperature (°C)", partial(_mean, "temperature_celsius", gpu)
    yield f"{gpu} at its power cap (share)", partial(_throttled, POWER_CAP, gpu)
    yield (
        f"{gpu} throttled by other limits (share)",
        partial(_throttled, THROTTLED ^ POWER_CAP, gpu),
    )
    yield f"{gpu} SMs active (%)", partial(_mean, "sm_active_percent", gpu)
    yield f"{gpu} tensor cores active (%)", partial(_mean, "tensor_active_percent", gpu)
    yield f"{gpu} DRAM bandwidth used (%)", partial(_mean, "dram_active_percent", gpu)


def _at(part: str, *path: Any) -> float | None:
    *keys, run = path
    node: Any = getattr(run, part)
    for key in keys:
        node = node.get(key) if isinstance(node, dict) else None
    return None if node is None else float(node)


def _tokens(run: Run) -> float | None:
    tokens = RecordArrays(run.records).good["output_tokens"].to_numpy()
    return float(np.mean(tokens)) if len(tokens) else None


def _occupancy(run: Run) -> float | None:
    """Return the mean number of active requests: total active time / makespan (Little, 1961)."""
    arrays = RecordArrays(run.records)
    if arrays.makespan is None:
        return None
    active = arrays.e2e - arrays.queue_time
    if np.isnan(active).any():
        return None  # the backend does not report start times
    begin, end = arrays.makespan
    return float(active.sum() / (end - begin)) if end > begin else None


def _mean(quantity: str, device: str | None, run: Run) -> float | None:
    series = run.find_series(quantity, device)
    return None if series is None else series_mean(series, None).value


def _throttled(bits: int, gpu: str, run: Run) -> float | None:
    """Return the fraction of a GPU's readings with any of the throttle reasons in ``bits``."""
    series = run.find_series("throttle_reasons", gpu)
    if series is None or not len(series.values):
        return None
    return float(np.mean(series.values.astype(int) & bits > 0))
