"""Words that the sections of a report share."""

from __future__ import annotations

import pytest

from llmbench.report.wording import series_label
from llmbench.runs.series import Series


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("process_cpu_percent", "CPU, this process"),
        ("gpu0_power_average_watts", "GPU 0 power, average"),
        ("gpu1_temperature_celsius", "GPU 1 temperature"),
        ("package0_energy_joules", "package 0 energy"),
        ("dram0_energy_joules", "DRAM 0 energy"),
        ("wall_energy_joules", "wall energy"),
        ("queue_of_a_plugin", "queue of a plugin"),
    ],
)
def test_a_series_is_named_in_words(name: str, label: str) -> None:
    assert series_label(Series.measured(name, "", (), ())) == label
