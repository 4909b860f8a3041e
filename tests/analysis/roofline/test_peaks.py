"""Datasheet peaks are found by the name that the driver reports."""

from __future__ import annotations

import pytest

from llmbench.analysis.roofline.peaks import SHEETS, datasheet


def test_an_h100_has_the_dense_peaks_of_its_datasheet() -> None:
    sheet = datasheet("NVIDIA H100 80GB HBM3")
    assert sheet is not None
    assert sheet.bytes_per_second == 3.35e12
    assert sheet.flops_per_second["bfloat16"] == pytest.approx(1978.9e12 / 2, rel=1e-3)


def test_unknown_hardware_has_no_datasheet() -> None:
    assert datasheet("Intel Xeon") is None


@pytest.mark.parametrize("name", SHEETS)
def test_narrower_numbers_are_no_slower(name: str) -> None:
    flops = SHEETS[name].flops_per_second
    assert flops["float16"] >= flops.get("tf32", 0.0) >= 0
    assert flops["float16"] > flops["float32"]
