"""Whether objectives are met, and by how many requests not."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest
from small_sets import planned, records, run_of

from llmbench.analysis.slo_attainment import Exceedance, attainment, exceedances, percentiles
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table


def run(*ttfts: float, failed: int = 0) -> Run:
    """A run whose requests have these TTFTs, and some more that failed."""
    good = [records(ttft, requests=1)[0] for ttft in ttfts]
    bad = [
        Record(i, "measured", 0.0, 0.0, None, (), (), 4, 0, "error", error_kind="timeout")
        for i in range(failed)
    ]
    plan = planned("eager", 1, slo={"ttft_p50": "400 ms"})
    return run_of(plan, records=records_table([*good, *bad]))


@pytest.mark.parametrize(
    ("ttfts", "failed", "status"),
    [
        ([0.1] * 40, 0, "met"),
        ([0.5] * 40, 0, "missed"),
        ([0.1] * 4, 36, "missed"),
        ([0.1], 0, "open"),
    ],
    ids=["met", "missed", "failed", "one"],
)
def test_an_objective_is_met_missed_or_open(ttfts: list[float], failed: int, status: str) -> None:
    assert attainment(percentiles([run(*ttfts, failed=failed)]), is_valid=True) == status


def test_failed_requests_are_beyond_every_bound() -> None:
    (exceedance,) = exceedances(run(0.1, 0.3, 0.5, failed=2))
    assert exceedance == Exceedance("ttft_p50", 0.4, slow=3, requests=5)


def test_a_percentile_allows_its_share_of_slow_requests() -> None:
    assert Exceedance("e2e_p99", 0.4, slow=2, requests=200).met
    assert not Exceedance("e2e_p99", 0.4, slow=3, requests=200).met


def test_slow_requests_are_described_with_what_is_allowed() -> None:
    exceedance = Exceedance("chat.ttft_p95", 0.2, slow=31, requests=200)
    assert str(exceedance) == "chat: TTFT p95: 31 of 200 requests above 200 ms (10 allowed)"


def test_abandoned_requests_are_not_beyond_a_bound() -> None:
    measured = run(0.1, 0.3, 0.5)
    gone = Record(3, "measured", 0.0, 0.0, None, (), (), 4, 0, "abandoned", abandoned_at=2.0)
    every = pa.concat_tables([measured.records, records_table([gone])])
    (exceedance,) = exceedances(replace(measured, records=every))
    assert exceedance == Exceedance("ttft_p50", 0.4, slow=1, requests=3)
