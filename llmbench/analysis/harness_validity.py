"""Whether the harness itself kept up, so that the latencies are the backend's and not its own.

The rules stand in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmbench.analysis.metrics import RecordArrays, Value, summarize
from llmbench.analysis.stats import percentile
from llmbench.runs.run import Run
from llmbench.runs.store import RunSet
from llmbench.units import format_duration

Verdict = Literal["valid", "unknown", "degraded", "invalid"]
VERDICTS: tuple[Verdict, ...] = ("valid", "unknown", "degraded", "invalid")
BY_BOUNDS: tuple[Verdict, ...] = ("valid", "degraded", "invalid")

# a lag is small beside these seconds, or beside this share of the median TTFT
LAG_SECONDS = (0.001, 0.010)
LAG_SHARE = (0.01, 0.10)
CORE_SHARE = (0.7, 0.95)


@dataclass(frozen=True, slots=True)
class Validity:
    """A verdict on the client of a run, and what speaks against it.

    ``unknown``: nothing is known that speaks against it, and too little is known to trust it.
    """

    verdict: Verdict
    reasons: tuple[str, ...] = ()


def judge(run: Run, summary: dict[str, Value], observed: RecordArrays | None = None) -> Validity:
    """Judge a measured run from its account and its metrics (metrics.summarize).

    ``observed`` are its records as arrays, where they have been made already.
    """
    symptoms = _symptoms(run, summary, observed or RecordArrays(run.records))
    found = [symptom for symptom in symptoms if symptom[0] != "valid"]
    return Validity(_worst(v for v, _ in found), tuple(reason for _, reason in found))


def worst(judged: list[Validity]) -> Validity:
    """Give the worst of the processes of a case; the first of them where several are as bad."""
    return max(judged, key=lambda one: VERDICTS.index(one.verdict), default=Validity("valid"))


def by_case(run_set: RunSet) -> dict[str, Validity]:
    """Judge every measured case of a run set."""
    return {
        case: worst([judge(run, summarize(run)) for run in runs])
        for case, runs in run_set.by_case().items()
        if runs
    }


def _worst(verdicts: Iterator[Verdict]) -> Verdict:
    return max(verdicts, key=VERDICTS.index, default="valid")


def _symptoms(
    run: Run, summary: dict[str, Value], observed: RecordArrays
) -> Iterator[tuple[Verdict, str]]:
    client = run.account.get("client") or {}
    if tool := client.get("tool"):
        yield "unknown", f"{tool} does not tell how its client kept up"
    ttft = summary["ttft_p50"].value or 0.0
    lag = summary["send_lag_p99"].value if client else _idle_lag(observed)
    yield _late("p99 of send lag", lag, ttft)
    yield _late("p99 of the event loop's lag", client.get("loop_lag_p99"), ttft)
    share = client.get("core_share")
    if share is not None:
        yield _rated(share, CORE_SHARE), f"the client used {share:.0%} of its core"


def _idle_lag(observed: RecordArrays) -> float | None:
    """Give the p99 of what a local engine was late by, when no step kept it from taking requests.

    None where no request tells, as of a run that is kept as a summary.
    """
    known = observed.idle_lag[~np.isnan(observed.idle_lag)]
    return percentile(known, 99) if len(known) else None


def _late(what: str, lag: float | None, ttft: float) -> tuple[Verdict, str]:
    if lag is None:
        return "valid", ""
    bounds = [
        max(seconds, share * ttft) for seconds, share in zip(LAG_SECONDS, LAG_SHARE, strict=True)
    ]
    return _rated(lag, bounds), f"{what} is {format_duration(lag)}"


def _rated(value: float, bounds: list[float] | tuple[float, ...]) -> Verdict:
    return BY_BOUNDS[sum(value > bound for bound in bounds)]
