"""Series are arrays by name, and come back from tables of this version and of earlier ones."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from llmbench.runs.series import Series, heads, read_series, series_table

POWER = Series.measured("gpu0_power_instant_watts", "W", (0.0, 1.0), (90.0, 110.0))
NONE = Series.unavailable("package0_energy_joules", "J", "no such counter")
BUSY = Series.measured("process_cpu_percent", "%", (0.5,), (30.0,))
WATCHED = (POWER, NONE, BUSY)


def test_a_table_gives_the_series_that_it_was_made_of() -> None:
    assert read_series(series_table(WATCHED)) == WATCHED
    assert read_series(series_table(())) == ()


def test_a_table_of_strings_whose_heads_are_elsewhere_is_read() -> None:
    names = [POWER.name, POWER.name, BUSY.name]
    table = pa.table({"name": names, "time": [0.0, 1.0, 0.5], "value": [90.0, 110.0, 30.0]})
    assert read_series(table, heads(WATCHED)) == WATCHED
    attached = table.replace_schema_metadata({"attached.parquet": json.dumps(heads(WATCHED))})
    assert read_series(attached) == WATCHED


def test_other_metadata_is_stored_as_json() -> None:
    metadata = series_table(WATCHED, facts={"n": 1}).schema.metadata
    assert json.loads(metadata[b"facts"]) == {"n": 1}


def test_series_are_equal_when_all_readings_are() -> None:
    assert replace(POWER, values=np.array([90.0, 110.0])) == POWER
    assert replace(POWER, values=np.array([90.0, 111.0])) != POWER
    assert replace(POWER, unit="kW") != POWER


@pytest.mark.parametrize(
    ("name", "device", "quantity"),
    [
        ("gpu12_energy_joules", "gpu12", "energy_joules"),
        ("dram0_energy_joules", "dram0", "energy_joules"),
        ("package0die1_energy_joules", "package0die1", "energy_joules"),
        ("wall_power_watts", "wall", "power_watts"),
        ("process_cpu_percent", None, "process_cpu_percent"),
    ],
)
def test_a_name_is_a_device_and_a_quantity(name: str, device: str | None, quantity: str) -> None:
    series = Series.unavailable(name, "", "")
    assert (series.device, series.quantity) == (device, quantity)


def test_times_count_from_an_origin() -> None:
    assert POWER.since(0.25).times.tolist() == [-0.25, 0.75]
