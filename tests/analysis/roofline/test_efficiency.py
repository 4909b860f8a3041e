"""MBU and MFU are shares of the peaks, or unavailable with a reason."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from analysis.roofline.test_steps import ALL, TWO
from analysis.roofline.test_work import COSTS, ints

from llmbench.analysis.roofline.efficiency import EFFICIENCY_METRICS, efficiency
from llmbench.analysis.roofline.peaks import DevicePeaks, datasheet
from llmbench.analysis.roofline.work import Work
from llmbench.analysis.values import NO_WINDOW, Value
from llmbench.runs.run import records_table

PEAKS = DevicePeaks(
    hardware="a processor",
    device="cpu",
    precision="float32",
    threads=2,
    torch="2.13.0",
    bytes_per_second=1e4,
    flops_per_second=1e6,
    other_load_percent=0.0,
    measured_at="2026-01-01T00:00:00+00:00",
)
RECORDS = records_table(TWO)


def backend_report(peaks: DevicePeaks | None = PEAKS, **more: Any) -> dict[str, Any]:
    return {
        "model_costs": asdict(COSTS),
        "device_peaks": asdict(peaks) if peaks else None,
        "reasons": {},
        **more,
    }


def test_mbu_and_mfu_are_shares_of_the_measured_peaks() -> None:
    values = efficiency(backend_report(), RECORDS, ALL)
    decode = COSTS.decode(4, 3.5, ints(5, 8), ints(7, 10))
    prefill = COSTS.prefill(2, 1.75, ints(4, 7))
    assert values["mbu"] == Value(decode.moved_bytes / 3.5 / 1e4, 4)
    assert values["mfu"] == Value(prefill.flops / 1.75 / 1e6, 2)


def test_steps_have_mean_seconds_bytes_and_flops() -> None:
    values = efficiency(backend_report(), RECORDS, ALL)
    decode = COSTS.decode(4, 3.5, ints(5, 8), ints(7, 10))
    assert values["decode_step_seconds"] == Value(3.5 / 4, 4)
    assert values["decode_step_bytes"] == Value(decode.moved_bytes / 4, 4)
    assert values["decode_step_flops"] == Value(decode.flops / 4, 4)


def test_datasheet_peaks_are_looked_up_by_the_name_of_the_hardware() -> None:
    sheet = datasheet("NVIDIA H200")
    assert sheet is not None
    peaks = replace(PEAKS, hardware="NVIDIA H200", precision="bfloat16", device="cuda")
    values = efficiency(backend_report(peaks), RECORDS, ALL)
    mbu, of_datasheet = values["mbu"].value, values["mbu_datasheet"].value
    assert mbu is not None
    assert of_datasheet == pytest.approx(mbu * 1e4 / sheet.bytes_per_second)


def test_hardware_without_a_datasheet_has_only_the_measured_utilization() -> None:
    values = efficiency(backend_report(), RECORDS, ALL)
    assert values["mbu_datasheet"] == Value.unavailable(
        "no datasheet peaks of a processor in float32 are known"
    )


def test_a_precision_that_the_datasheet_lacks_has_no_utilization_of_it() -> None:
    peaks = replace(PEAKS, hardware="Tesla T4", precision="bfloat16")
    assert efficiency(backend_report(peaks), RECORDS, ALL)["mfu_datasheet"].value is None


def test_without_measured_peaks_bytes_and_flops_are_known_and_utilization_is_not() -> None:
    stored = backend_report(None, reasons={"device_peaks": "LLMBENCH_ROOF is off"})
    values = efficiency(stored, RECORDS, ALL)
    assert values["mbu"] == Value.unavailable("LLMBENCH_ROOF is off")
    assert values["decode_step_bytes"].value is not None


def test_without_model_costs_every_metric_has_the_backends_reason() -> None:
    values = efficiency({"model_costs": None, "reasons": {"model_costs": "experts"}}, RECORDS, ALL)
    assert values == dict.fromkeys(EFFICIENCY_METRICS, Value.unavailable("experts"))
    assert (
        efficiency({}, RECORDS, ALL)["mbu"].reason
        == "this backend does not report the required data"
    )


def test_without_a_steady_window_only_the_cache_is_known() -> None:
    values = efficiency(backend_report(), RECORDS, None)
    assert values["memory_kv_used_bytes"] == Value(16.0 * COSTS.kv_token_bytes, 2)
    assert values["mbu"] == Value.unavailable(NO_WINDOW)


def test_a_window_without_a_decode_has_no_mbu() -> None:
    mbu = efficiency(backend_report(), RECORDS, (0.0, 1.5))["mbu"]
    assert mbu == Value.unavailable("no decode lies within the steady window")


def test_every_metric_is_always_present() -> None:
    for window in (ALL, None):
        assert set(efficiency(backend_report(), RECORDS, window)) == set(EFFICIENCY_METRICS)


def test_the_copy_that_measured_the_peak_reaches_all_of_it() -> None:
    copy = Work(steps=1, seconds=0.25, moved_bytes=2 * 2**29, flops=0.0)
    peaks = replace(PEAKS, bytes_per_second=2 * 2**29 / 0.25)
    assert copy.bandwidth_share(peaks.bytes_per_second) == 1.0
