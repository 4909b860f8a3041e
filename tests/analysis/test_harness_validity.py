"""Whether the harness kept up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmbench.analysis.harness_validity import Validity, validity_of, worst_validity
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

REQUESTS = 700  # enough for a p99


def served(
    records: Sequence[Record] = (), client: dict[str, Any] | None = None, **more: Any
) -> Run:
    return Run(
        Case("case", "case", "endpoint", {}, {}), 1, "2026-01-01",
        records=records_table(records), backend_report={"client": client or {}}, **more,
    )  # fmt: skip


def record(
    number: int, lag: float = 0.0, ttft: float = 0.1, stamps: tuple[float | None, ...] = (0.0, 0.0)
) -> Record:
    """A request of eleven tokens at 10 ms each, sent ``lag`` late, whose TTFT includes the lag."""
    due = float(number)
    times = tuple(due + ttft + 0.01 * token for token in range(11))
    return Record(
        number, "measured", due, due + lag, None, times, (1,) * 11, 4, 11, "length",
        first_stamp_lag=stamps[0], last_stamp_lag=stamps[1],
    )  # fmt: skip


def judged(client: dict[str, Any] | None = None, requests: int = REQUESTS, **each: Any) -> Validity:
    """Judge a client (with a core share, so that it is one) whose requests are all alike."""
    records = [record(number, **each) for number in range(requests)]
    return validity_of(served(records, {"core_share": 0.1, **(client or {})}))


@pytest.mark.parametrize(("lag", "verdict"), [(0.0009, "valid"), (0.0011, "invalid")])
def test_a_client_may_add_a_millisecond_to_a_short_latency(lag: float, verdict: str) -> None:
    assert judged(lag=lag, ttft=0.004).verdict == verdict


@pytest.mark.parametrize(
    ("lag", "verdict"), [(0.04, "valid"), (0.06, "degraded"), (0.19, "degraded"), (0.21, "invalid")]
)
def test_what_a_client_adds_is_judged_by_its_share_of_the_percentile(
    lag: float, verdict: str
) -> None:
    assert judged(lag=lag, ttft=1.0).verdict == verdict


def test_a_lag_outside_the_reported_percentiles_is_no_symptom() -> None:
    records = [record(n, lag=0.05 if n < 5 else 0.0, ttft=0.1) for n in range(REQUESTS)]
    validity = validity_of(served(records, {"core_share": 0.1, "loop_lag_p99": 0.05}))
    assert validity.verdict == "valid"
    assert validity.added["ttft_p99"] == 0


def test_what_a_client_adds_is_the_difference_of_two_percentiles() -> None:
    rng = np.random.default_rng(0)
    lags, ttfts = rng.exponential(0.001, REQUESTS), rng.uniform(0.05, 0.2, REQUESTS)
    records = [record(n, float(lags[n]), float(ttfts[n])) for n in range(REQUESTS)]
    added = validity_of(served(records, {"core_share": 0.1})).added
    for p in (50, 90, 95, 99):
        without = np.percentile(ttfts - lags, p)
        assert added[f"ttft_p{p}"] == pytest.approx(np.percentile(ttfts, p) - without)


def test_late_stamps_add_to_the_latencies_that_they_end() -> None:
    added = judged(stamps=(0.002, 0.007)).added
    assert added["ttft_p50"] == pytest.approx(0.002)
    assert added["e2e_p50"] == pytest.approx(0.007)
    assert added["tpot_p50"] == pytest.approx(0.0005)


def test_a_client_whose_stamps_have_an_unknown_lag_is_not_valid() -> None:
    assert judged({"loop_lag_p99": 0.003}, stamps=(None, None)).verdict == "unknown"
    assert judged({"loop_lag_p99": 0.003}).verdict == "valid"


def test_a_percentile_with_too_few_requests_is_not_judged() -> None:
    assert "ttft_p99" not in judged(requests=100).added
    assert "ttft_p90" in judged(requests=100).added


@pytest.mark.parametrize(("share", "verdict"), [(0.6, "valid"), (0.8, "degraded"), (1, "invalid")])
def test_a_busy_client_is_degraded_or_invalid(share: float, verdict: str) -> None:
    assert judged({"core_share": share}).verdict == verdict


def local(due: float, sent: float, ttft: float = 0.1) -> Validity:
    """Judge a local engine that ended steps at 1, 2, 2.5 and 3 s and admitted requests alike."""
    before = Record(0, "warmup", 0.0, 0.0, 0.0, (1.0, 2.0, 2.5, 3.0), (1,) * 4, 4, 4, "length")
    requests = [
        Record(n, "measured", due, sent, sent, (due + ttft,), (1,), 4, 1, "length")
        for n in range(1, 21)
    ]
    run = served([before, *requests])
    return validity_of(replace(run, backend_report={}))


@pytest.mark.parametrize(
    ("due", "sent", "verdict"),
    [
        (1.2, 2.0005, "valid"),  # in the step that ended at 2
        (1.2, 2.15, "degraded"),
        (1.2, 2.4, "invalid"),
        (2.7, 3.0, "valid"),
        (4.0, 4.0005, "valid"),  # no step was running
        (4.0, 4.4, "invalid"),
        (1.2, 2.61, "degraded"),  # it could have been admitted at 2.5 already
    ],
)
def test_a_local_engine_is_late_from_the_end_of_a_step_on(
    due: float, sent: float, verdict: str
) -> None:
    assert local(due, sent, ttft=1.5).verdict == verdict


def test_the_symptoms_are_the_reasons() -> None:
    assert judged({"core_share": 0.8}, lag=0.02).reasons == (
        "it added 20.0 ms to TTFT p50, 100 ms",
        "the client used 80% of its CPU core",
    )


def test_a_run_of_another_tool_is_never_valid() -> None:
    validity = validity_of(served(client={"tool": "other 1.0"}))
    assert validity.verdict == "unknown"
    assert validity.reasons == ("other 1.0 does not report whether its client kept up",)


def test_symptoms_of_another_tools_client_count() -> None:
    assert judged({"tool": "other 1.0"}, lag=0.01).verdict == "degraded"
    assert judged({"tool": "other 1.0"}, lag=0.04).verdict == "invalid"


def test_a_run_without_records_is_unknown() -> None:
    assert validity_of(served(summary={})).verdict == "unknown"


def test_a_case_is_as_good_as_its_worst_process() -> None:
    validities = [
        Validity("valid", added={"ttft_p50": 0.3}),
        Validity("invalid", ("a", "b"), {"ttft_p50": 0.2, "e2e_p50": 0.1}),
        Validity("degraded", ("a",)),
    ]
    assert worst_validity(validities) == Validity(
        "invalid", ("a", "b"), {"ttft_p50": 0.3, "e2e_p50": 0.1}
    )
