"""What else moved when a metric changed: clocks, throttling, neighbors, tokens, recompiles."""

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


@dataclass(frozen=True, slots=True)
class Covariate:
    """Something that was watched, on both sides: medians over processes, or versions.

    ``p`` is the two-sided one of Mann and Whitney, None for what is not a number.
    """

    what: str
    baseline: str
    candidate: str
    p: float | None = None


Watched = Callable[[Run], float | None]


def causes(
    ours: Sequence[Run], theirs: Sequence[Run], differences: Sequence[Difference]
) -> tuple[Covariate, ...]:
    """Name what moved between the runs of two sides, besides what was measured.

    That something moved as well does not make it the cause; that nothing did points at the code.
    """
    moved = (_moved(what, watched, ours, theirs) for what, watched in _watched(ours))
    software = [
        Covariate(each.what, each.baseline, each.candidate)
        for each in differences
        if each.kind == "software"
    ]
    return (*(cause for cause in moved if cause), *software)


def _moved(
    what: str, watched: Watched, ours: Sequence[Run], theirs: Sequence[Run]
) -> Covariate | None:
    a, b = ([watched(run) for run in runs] for runs in (ours, theirs))
    left, right = [v for v in a if v is not None], [v for v in b if v is not None]
    if len(left) < len(a) or len(right) < len(b) or not left or not right:
        return None
    p = p_of_shift(left, right)
    return Covariate(what, f"{median(left):.4g}", f"{median(right):.4g}", p) if p <= ALPHA else None


# -- what is watched -------------------------------------------------------------------------------


def _watched(runs: Sequence[Run]) -> Iterator[tuple[str, Watched]]:
    yield "output tokens of a request", _tokens
    yield "sequences in a step, on average", _occupancy
    for counter in ("compiles_in_window", "graph_breaks", "gc_collections"):
        yield counter.replace("_", " "), partial(_at, "backend_report", "counters", counter)
    yield "stolen processor time (%)", partial(_at, "facts", "stolen_percent")
    yield "load of others (%)", partial(_at, "facts", "other_load_percent")
    yield "processor clock (Hz)", partial(_mean, "cpu_frequency_hertz")
    yield "processor busy (%)", partial(_mean, "system_cpu_percent")
    for device in dict.fromkeys(s.device or "" for r in runs for s in r.series):
        if device.startswith("gpu"):
            yield from _watched_on(device)


def _watched_on(gpu: str) -> Iterator[tuple[str, Watched]]:
    yield f"{gpu} SM clock (Hz)", partial(_mean, f"{gpu}_sm_clock_hertz")
    yield f"{gpu} memory clock (Hz)", partial(_mean, f"{gpu}_memory_clock_hertz")
    yield f"{gpu} power (W)", partial(_mean, f"{gpu}_power_instant_watts")
    yield f"{gpu} busy (%)", partial(_mean, f"{gpu}_busy_percent")
    yield f"{gpu} temperature (°C)", partial(_mean, f"{gpu}_temperature_celsius")
    yield f"{gpu} at its power cap (share)", partial(_share, f"{gpu}_throttle_reasons", POWER_CAP)
    yield (
        f"{gpu} throttled by other limits (share)",
        partial(_share, f"{gpu}_throttle_reasons", THROTTLED ^ POWER_CAP),
    )
    yield f"{gpu} SMs active (%)", partial(_mean, f"{gpu}_sm_active_percent")
    yield f"{gpu} tensor cores active (%)", partial(_mean, f"{gpu}_tensor_active_percent")
    yield f"{gpu} DRAM bandwidth used (%)", partial(_mean, f"{gpu}_dram_active_percent")


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
    """Give the mean number of requests at work: time at work by time (Little, 1961)."""
    observed = RecordArrays(run.records)
    if observed.makespan is None:
        return None
    at_work = observed.e2e - observed.queue_time
    if np.isnan(at_work).any():
        return None  # the backend does not tell when it began a request
    begin, end = observed.makespan
    return float(at_work.sum() / (end - begin)) if end > begin else None


def _mean(name: str, run: Run) -> float | None:
    return next((series_mean(s, None).value for s in run.series if s.name == name), None)


def _share(name: str, bits: int, run: Run) -> float | None:
    for series in run.series:
        if series.name == name and len(series.values):
            return float(np.mean(series.values.astype(int) & bits > 0))
    return None
