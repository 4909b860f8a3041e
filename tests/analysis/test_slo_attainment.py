"""Whether objectives are met, with the reasons."""

from __future__ import annotations

import pytest
from small_sets import planned, records, run_of

from llmbench.analysis.slo_attainment import attainment
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table


def runs(*ttfts: float, failed: int = 0) -> list[Run]:
    """One run whose requests have these TTFTs, and some more that failed."""
    good = [records(ttft, requests=1)[0] for ttft in ttfts]
    bad = [
        Record(i, "measured", 0.0, 0.0, None, (), (), 4, 0, "error", error_kind="timeout")
        for i in range(failed)
    ]
    plan = planned("eager", 1, slo={"ttft_p50": "400 ms"})
    return [run_of(plan, records=records_table([*good, *bad]))]


@pytest.mark.parametrize(
    ("ttfts", "failed", "verdict", "reasons"),
    [
        ([0.1] * 40, 0, "met", ()),
        ([0.5] * 40, 0, "missed", ("TTFT p50 500 ms to 500 ms (objective 400 ms, 40 samples)",)),
        (
            [0.1] * 4,
            36,
            "missed",
            ("TTFT p50 not reached, since requests failed (objective 400 ms, 40 samples)",),
        ),
        ([0.1], 0, "open", ("TTFT p50 not known (objective 400 ms, 1 samples)",)),
    ],
    ids=["met", "missed", "failed", "one"],
)
def test_a_verdict_has_the_reasons_why_objectives_are_not_met(
    ttfts: list[float], failed: int, verdict: str, reasons: tuple[str, ...]
) -> None:
    attained = attainment(8.0, runs(*ttfts, failed=failed))
    assert (attained.verdict, attained.reasons) == (verdict, reasons)
