"""Logs of wall meters: the series they give, and the messages for wrong ones."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.analysis.meters import ENERGY_UNITS, Layout
from llmbench.analysis.meters.log import read_log
from llmbench.errors import InputError
from llmbench.runs.series import Series

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "meter.csv"


def power(path: Path, text: str, layout: Layout = Layout()) -> Series:  # noqa: B008 (it is frozen)
    path.write_text(text, encoding="utf-8")
    (series,) = read_log(path, layout)
    return series


def test_power_is_read_with_its_times_in_seconds_since_1970(path: Path) -> None:
    series = power(path, "time,watts\n1700000000,90.5\n1700000000.5,91\n")
    expected = (1_700_000_000.0, 1_700_000_000.5), (90.5, 91.0)
    assert series == Series.measured("wall_power_watts", "W", *expected)


@pytest.mark.parametrize(("unit", "joules"), [("J", 1.5), ("Wh", 5400.0), ("kWh", 5.4e6)])
def test_energy_is_read_in_joules(path: Path, unit: str, joules: float) -> None:
    layout = Layout(watts=None, energy="total", energy_unit=unit)
    series = power(path, "time,total\n0,0\n1,1.5\n", layout)
    assert series == Series.measured("wall_energy_joules", "J", (0.0, 1.0), (0.0, joules))


def test_power_and_energy_may_come_together(path: Path) -> None:
    path.write_text("at,P (W),E (Wh),more\n0,90,1,x\n")
    layout = Layout(time="at", watts="P (W)", energy="E (Wh)", energy_unit="Wh")
    assert [series.values.tolist() for series in read_log(path, layout)] == [[90.0], [3600.0]]


@pytest.mark.parametrize("missing", ["", " ", "unavailable", "Unknown", "NaN"])
def test_a_missing_reading_is_left_out(path: Path, missing: str) -> None:
    series = power(path, f"time,watts\n0,90\n1,{missing}\n2,92\n")
    assert series == Series.measured("wall_power_watts", "W", (0, 2), (90, 92))


def test_a_row_that_ends_early_has_no_reading(path: Path) -> None:
    assert power(path, "time,watts\n0,90\n1\n").times.tolist() == [0.0]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_logs_of_other_encodings_are_read(path: Path, encoding: str) -> None:
    path.write_bytes("time,watts\r\n0,90\r\n".encode(encoding))
    (series,) = read_log(path, Layout())
    assert series.values.tolist() == [90.0]


def test_a_header_in_the_middle_is_left_out(path: Path) -> None:
    assert power(path, "time,watts\n0,90\ntime,watts\n1,91\n").values.tolist() == [90.0, 91.0]


def test_spaces_and_a_byte_order_mark_are_ignored(path: Path) -> None:
    assert power(path, "\ufefftime , watts\n 0 , 90 \n").values.tolist() == [90.0]


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00+00:00",
        "2026-01-31 13:00:00.000+01:00",
        "2026-01-31T07:00:00-0500",
        "2026-01-31T07:00:00-05",
    ],
)
def test_times_with_a_zone_are_moments(path: Path, stamp: str) -> None:
    assert power(path, f"time,watts\n{stamp},90\n").times.tolist() == [NOON]


def test_zones_may_change_within_a_log(path: Path) -> None:
    text = "time,watts\n2026-01-31T13:00:00+01:00,1\n2026-01-31T12:00:01Z,2\n"
    assert power(path, text).times.tolist() == [NOON, NOON + 1]


def test_times_without_a_zone_are_refused(path: Path) -> None:
    with pytest.raises(InputError, match=r"meter.csv:3: time: '2026-01-31 12:00:01' has no time"):
        power(path, "time,watts\n2026-01-31 12:00:00Z,1\n2026-01-31 12:00:01,2\n")


def test_times_without_a_zone_use_the_given_one(path: Path) -> None:
    text = "time,watts\n2026-01-31 07:00:00,1\n2026-01-31 12:00:01Z,2\n"
    assert power(path, text, Layout(utc_offset="-05:00")).times.tolist() == [NOON, NOON + 1]


def test_milliseconds_need_their_option(path: Path) -> None:
    text = "time,watts\n1700000000500,90\n"
    with pytest.raises(InputError, match="for milliseconds use --time-format unix-ms"):
        power(path, text)
    assert power(path, text, Layout(time_format="unix-ms")).times.tolist() == [1_700_000_000.5]


def test_an_offset_is_added_to_every_time(path: Path) -> None:
    series = power(path, "time,watts\n10,90\n11,91\n", Layout(offset_seconds=-1.5))
    assert series.times.tolist() == [8.5, 9.5]


def test_readings_may_share_a_stamp(path: Path) -> None:
    assert power(path, "time,watts\n10,90\n10,91\n").times.tolist() == [10.0, 10.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no readings; expected a header and lines of values"),
        ("time,watts\n", "no readings"),
        ("Time;Watts\n1;2\n", r"no column 'time'; (did you mean 'Time;Watts'\? )?columns: Time;W"),
        (
            "time,Watts\n1,2\n",
            "no column 'watts'; did you mean 'Watts'? columns: time, Watts; choose one",
        ),
        ("time,watts,watts\n1,2,3\n", "several columns are named 'watts'; rename all but one"),
        ("time,watts\n1,2,\n", "meter.csv:2: found 3 cells; expected 2, as in the header"),
        ("time,watts\n1,2\n0,2\n", "meter.csv:3: time: '0' is earlier than the reading before it"),
        ("time,watts\n1,2\n2,9O\n", "meter.csv:3: watts: '9O' is not a number"),
        ("time,watts\n1,inf\n", "meter.csv:2: watts: 'inf' is not a number"),
        ("time,watts\n-1,2\n", "meter.csv:2: time: '-1' is not in seconds since 1970"),
        ("time,watts\n1,2\n,2\n", "meter.csv:3: time: '' is not in seconds since 1970"),
        ("time,watts\n2026-01-31 12:00Z,2\n,2\n", "meter.csv:3: time: '' is not an ISO 8601 time"),
        ("time,watts\n-1026-01-31T12:00:00Z,2\n", "'-1026-01-31T12:00:00Z' is before 1970"),
        ("time,watts\nnoon,2\n", "meter.csv:2: time: 'noon' is not an ISO 8601 time"),
        ("time,watts\n2026-01-31,2\n", "meter.csv:2: time: '2026-01-31' has no time zone"),
    ],
)
def test_an_unreadable_log_is_refused_with_a_reason(path: Path, text: str, message: str) -> None:
    pattern = message if "\\" in message else message.replace("?", r"\?")
    with pytest.raises(InputError, match=pattern):
        power(path, text)


def test_a_missing_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: cannot be read: No such file or directory"):
        read_log(tmp_path / "none.csv", Layout())


def test_a_binary_log_is_refused(path: Path) -> None:
    path.write_bytes(b"time,watts\n\xff\xfe,1\n")
    with pytest.raises(
        InputError, match=r"meter\.csv:2: byte 12 of the file \(0xff\) is not UTF-8"
    ):
        read_log(path, Layout())


def written(rows: list[str], layout: Layout) -> Series:
    with tempfile.TemporaryDirectory() as folder:
        return power(Path(folder) / "meter.csv", "\n".join(["time,watts", *rows]), layout)


seconds = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1e3)


@settings(deadline=None)  # it writes a file
@given(st.lists(st.tuples(seconds, st.floats(-1e6, 1e6)), min_size=1, max_size=20))
def test_any_unix_times_and_powers_come_back_as_they_were_written(
    readings: list[tuple[float, float]],
) -> None:
    ordered = sorted(readings, key=lambda reading: reading[0])
    series = written([f"{time!r},{watts!r}" for time, watts in ordered], Layout())
    assert list(zip(series.times, series.values, strict=True)) == ordered


@settings(deadline=None, max_examples=30)  # it writes files
@given(
    moments=st.lists(
        st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001 (a zone is added)
        min_size=1,
        max_size=20,
    ),
    minutes=st.integers(-14 * 60, 14 * 60),
)
def test_any_moment_is_the_same_in_any_zone(moments: list[datetime], minutes: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    ordered = [moment.replace(tzinfo=UTC) for moment in sorted(moments)]
    local = [moment.astimezone(zone).isoformat() for moment in ordered]
    series = written([f"{stamp},1" for stamp in local], Layout(time_format="iso"))
    offset = local[0][-6:]
    naive = written([f"{stamp[:-6]},1" for stamp in local], Layout(utc_offset=offset))
    assert series.times.tolist() == naive.times.tolist()
    for time, moment in zip(series.times, ordered, strict=True):
        assert math.isclose(time, moment.timestamp(), rel_tol=0, abs_tol=5e-6)


def test_every_unit_of_energy_has_its_joules() -> None:
    assert ENERGY_UNITS == {"J": 1.0, "Wh": 3600.0, "kWh": 3_600_000.0}
