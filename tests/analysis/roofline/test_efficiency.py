"""MBU and MFU are the shares of peaks that steps used, or there is a reason for having none."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from analysis.roofline.test_operations import FACTS, ints
from analysis.roofline.test_steps import ALL, TWO

from llmbench.analysis.roofline.datasheets import datasheet
from llmbench.analysis.roofline.efficiency import FIGURES, figures
from llmbench.analysis.roofline.operations import Roof, Work
from llmbench.runs.record import records_table

ROOF = Roof(
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


def account(roof: Roof | None = ROOF, **more: Any) -> dict[str, Any]:
    return {"model": asdict(FACTS), "roof": asdict(roof) if roof else None, "reasons": {}, **more}


def test_shares_are_those_of_the_measured_peaks() -> None:
    found = figures(account(), RECORDS, ALL)
    decode = FACTS.decode(4, 3.5, ints(5, 8), ints(7, 10))
    prefill = FACTS.prefill(1.75, ints(4, 7))
    assert found["mbu"] == (decode.moved_bytes / 3.5 / 1e4, 4, None)
    assert found["mfu"] == (prefill.flops / 1.75 / 1e6, 2, None)


def test_steps_are_told_by_their_means() -> None:
    found = figures(account(), RECORDS, ALL)
    decode = FACTS.decode(4, 3.5, ints(5, 8), ints(7, 10))
    assert found["decode_step_seconds"] == (3.5 / 4, 4, None)
    assert found["decode_step_bytes"] == (decode.moved_bytes / 4, 4, None)
    assert found["decode_step_flops"] == (decode.flops / 4, 4, None)


def test_the_makers_peaks_are_looked_up_by_the_name_of_the_hardware() -> None:
    sheet = datasheet("NVIDIA H200")
    assert sheet is not None
    roof = replace(ROOF, hardware="NVIDIA H200", precision="bfloat16", device="cuda")
    found = figures(account(roof), RECORDS, ALL)
    mbu, of_datasheet = found["mbu"][0], found["mbu_datasheet"][0]
    assert mbu is not None
    assert of_datasheet == pytest.approx(mbu * 1e4 / sheet.bytes_per_second)


def test_hardware_without_a_datasheet_has_measured_shares_alone() -> None:
    found = figures(account(), RECORDS, ALL)
    assert found["mbu_datasheet"] == (
        None, 0, "the maker's peaks of a processor in float32 are not noted down",
    )  # fmt: skip


def test_a_precision_that_the_datasheet_does_not_have_has_no_share_of_it() -> None:
    roof = replace(ROOF, hardware="Tesla T4", precision="bfloat16")
    assert figures(account(roof), RECORDS, ALL)["mfu_datasheet"][0] is None


def test_without_a_roof_bytes_and_flops_are_known_and_shares_are_not() -> None:
    told = account(None, reasons={"roof": "LLMBENCH_ROOF is off"})
    found = figures(told, RECORDS, ALL)
    assert found["mbu"] == (None, 0, "LLMBENCH_ROOF is off")
    assert found["decode_step_bytes"][0] is not None


def test_without_a_model_every_figure_has_the_backends_reason() -> None:
    found = figures({"model": None, "reasons": {"model": "experts"}}, RECORDS, ALL)
    assert found == dict.fromkeys(FIGURES, (None, 0, "experts"))
    assert figures({}, RECORDS, ALL)["mbu"][2] == "this backend does not report it"


def test_without_a_steady_window_only_the_cache_is_known() -> None:
    found = figures(account(), RECORDS, None)
    assert found["memory_kv_used_bytes"] == (16.0 * FACTS.kv_token_bytes, 2, None)
    assert found["mbu"] == (
        None, 0, "no steady window: the measured requests were all due at one moment",
    )  # fmt: skip


def test_a_window_without_a_decode_has_no_mbu() -> None:
    assert figures(account(), RECORDS, (0.0, 1.5))["mbu"] == (
        None, 0, "no decode lies within the steady window",
    )  # fmt: skip


def test_every_figure_is_always_there() -> None:
    for window in (ALL, None):
        assert set(figures(account(), RECORDS, window)) == set(FIGURES)


def test_the_copy_that_made_the_roof_uses_all_of_it() -> None:
    copy = Work(steps=1, seconds=0.25, moved_bytes=2 * 2**29, flops=0.0)
    roof = replace(ROOF, bytes_per_second=2 * 2**29 / 0.25)
    assert copy.bandwidth_share(roof.bytes_per_second) == 1.0
