"""Whether the harness kept up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmbench.analysis.harness_validity import Validity, validity_of, worst_validity
from llmbench.analysis.metrics import Value
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case


def judged(lag: float | None = 0.0, ttft: float = 0.1, **client: float | str | None) -> Validity:
    backend_report: dict[str, Any] = {"client": client}
    run = Run(
        Case("case", "case", "endpoint", {}, {}), 1, "2026-01-01", backend_report=backend_report
    )
    summary = {"ttft_p50": Value(ttft, 1), "send_lag_p99": Value(lag, 1)}
    return validity_of(run, summary)


@pytest.mark.parametrize(
    ("lag", "verdict"), [(0.0009, "valid"), (0.0011, "degraded"), (0.0101, "invalid")]
)
def test_a_lag_is_judged_in_milliseconds(lag: float, verdict: str) -> None:
    assert judged(lag, ttft=0.05, core_share=0.1).verdict == verdict
    assert judged(0.0, ttft=0.05, loop_lag_p99=lag).verdict == verdict


@pytest.mark.parametrize(
    ("lag", "verdict"), [(0.009, "valid"), (0.011, "degraded"), (0.11, "invalid")]
)
def test_a_lag_is_judged_by_its_share_of_a_long_ttft(lag: float, verdict: str) -> None:
    assert judged(lag, ttft=1.0, core_share=0.1).verdict == verdict


@pytest.mark.parametrize(("share", "verdict"), [(0.6, "valid"), (0.8, "degraded"), (1, "invalid")])
def test_a_busy_client_is_degraded_or_invalid(share: float, verdict: str) -> None:
    assert judged(core_share=share).verdict == verdict


def local(due: float, sent: float) -> Validity:
    """Judge a local engine that ended steps at 1, 2, 2.5 and 3 s and admitted a request."""
    before = Record(0, "measured", 0.0, 0.0, 0.0, (1.0, 2.0, 2.5, 3.0), (1,) * 4, 4, 4, "length")
    request = Record(1, "measured", due, sent, sent, (sent + 0.1,), (1,), 4, 1, "length")
    run = Run(Case("case", "case", "eager", {}, {}), 1, "2026-01-01")
    table = records_table([before, request])
    return validity_of(replace(run, records=table), {"ttft_p50": Value(0.1, 1)})


@pytest.mark.parametrize(
    ("due", "sent", "verdict"),
    [
        (1.2, 2.0005, "valid"),  # in the step that ended at 2
        (1.2, 2.005, "degraded"),
        (1.2, 2.02, "invalid"),
        (2.7, 3.0, "valid"),
        (4.0, 4.0005, "valid"),  # no step was running
        (4.0, 4.02, "invalid"),
        (1.2, 2.51, "degraded"),  # it could have been admitted at 2 already
    ],
)
def test_a_local_engine_is_late_from_the_end_of_a_step_on(
    due: float, sent: float, verdict: str
) -> None:
    assert local(due, sent).verdict == verdict


def test_the_symptoms_are_the_reasons() -> None:
    assert judged(0.02, core_share=0.8).reasons == (
        "requests were sent 20.0 ms late (p99)",
        "the client used 80% of its CPU core",
    )


def test_a_run_of_another_tool_is_never_valid() -> None:
    assert judged(tool="other 1.0").verdict == "unknown"
    (reason,) = judged(0.0, tool="other 1.0").reasons
    assert reason == "other 1.0 does not report whether its client kept up"


def test_symptoms_of_another_tools_client_count() -> None:
    assert judged(0.0011, ttft=0.05, tool="other 1.0").verdict == "degraded"
    assert judged(0.04, tool="other 1.0").verdict == "invalid"


def test_an_unknown_lag_is_no_symptom() -> None:
    assert judged(None) == Validity("valid")


def test_a_case_is_as_good_as_its_worst_process() -> None:
    validities = [Validity("valid"), Validity("invalid", ("a", "b")), Validity("degraded", ("a",))]
    assert worst_validity(validities) == Validity("invalid", ("a", "b"))
