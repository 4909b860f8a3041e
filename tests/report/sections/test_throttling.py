"""When GPUs were throttled."""

from __future__ import annotations

import pytest

from llmbench.report.sections import throttling
from llmbench.report.sections.throttling import Throttled
from llmbench.runs.series import Series

IDLE, POWER, HEAT = 0x01, 0x04, 0x20


def masks(*values: int, gpu: str = "gpu0") -> Series:
    times = tuple(float(index) for index in range(len(values)))
    return Series.measured(f"{gpu}_throttle_reasons", "bits", times, values)


@pytest.mark.parametrize(
    ("values", "throttled"),
    [
        ((0, POWER, POWER, 0), [Throttled("gpu0", 1.0, 3.0, "power")]),
        ((POWER, IDLE), [Throttled("gpu0", 0.0, 1.0, "power")]),
        (
            (POWER, POWER | HEAT, 0),
            [
                Throttled("gpu0", 0.0, 1.0, "power"),
                Throttled("gpu0", 1.0, 2.0, "power, software thermal"),
            ],
        ),
        ((0, POWER), [Throttled("gpu0", 1.0, 1.0, "power")]),
        ((IDLE, IDLE | POWER, POWER), [Throttled("gpu0", 1.0, 2.0, "power")]),
        ((0, IDLE, 0), []),
        ((), []),
    ],
)
def test_a_reason_holds_from_its_first_reading_until_the_first_without_it(
    values: tuple[int, ...], throttled: list[Throttled]
) -> None:
    assert throttling.spans([masks(*values)]) == throttled


def test_each_gpu_has_its_name_and_other_series_are_ignored() -> None:
    power = Series.measured("gpu0_power_instant_watts", "W", (0.0, 1.0), (4.0, 4.0))
    throttled = throttling.spans([power, masks(POWER, 0), masks(HEAT, 0, gpu="gpu1")])
    assert [span.gpu for span in throttled] == ["gpu0", "gpu1"]


def test_the_table_has_one_row_per_span() -> None:
    table = throttling.table(throttling.spans([masks(0, POWER, 0, 0, HEAT, 0)]))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["gpu0", "1.00 s", "2.00 s", "power"],
        ["gpu0", "4.00 s", "5.00 s", "software thermal"],
    ]
