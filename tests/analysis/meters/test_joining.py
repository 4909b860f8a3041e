"""Runs get the readings of a wall meter that cover them; others are left out with the reason."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.meters.joining import Joined, _around, join
from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import CLOCK_ORIGIN, Failure, PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

ORIGIN = 1_700_000_000.0
LOG = Path("meter.csv")
POWER, ENERGY = "wall_power_watts", "wall_energy_joules"


def run(repeat: int, **more: Any) -> Run:
    """Two requests, due at 0 and 2 s, the last token at 4 s; each run a minute after the other."""
    records = [
        Record(i, "measured", due, due, None, (due + 1, due + 2), (1, 1), 3, 2, "length")
        for i, due in enumerate((0.0, 2.0))
    ]
    plain: dict[str, Any] = {
        "records": records_table(records),
        "facts": {CLOCK_ORIGIN: ORIGIN + 60 * (repeat - 1)},
        **more,
    }
    return Run(Case("case", "case", "fake", {}, {}), repeat, "2023-11-14", **plain)


def stored(folder: Path, *runs: Run) -> RunSet:
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    run_set = RunSet(folder / "set", "set", "", "2023-11-14", "", (), {}, plan)
    store.create(run_set)
    for one in runs:
        store.write_run(run_set.folder, one)
    return store.read(run_set.folder)


def series_of(run_set: RunSet, repeat: int = 1) -> tuple[Series, ...]:
    return next(r.series for r in store.read(run_set.folder).runs if r.repeat == repeat)


def log(*times: float, name: str = POWER, values: tuple[float, ...] | None = None) -> Series:
    """Return readings at times relative to the first run's clock; by default 100, 101, ... W."""
    given = values or tuple(100.0 + i for i in range(len(times)))
    return Series.measured(name, "W", ORIGIN + np.array(times), given)


def test_a_run_gets_the_readings_in_it_and_one_on_either_side(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1))
    assert join(run_set, LOG, [log(*range(-3, 8))]) == Joined(("case-r1",), {})
    expected = (0.0, 1.0, 2.0, 3.0, 4.0), (103.0, 104.0, 105.0, 106.0, 107.0)
    assert series_of(run_set) == (Series.measured(POWER, "W", *expected),)
    join(run_set, LOG, [log(-1.5, 0.5, 2.5, 4.5, 6.5)])
    assert series_of(run_set)[0].times.tolist() == [-1.5, 0.5, 2.5, 4.5]


def test_energy_counts_from_the_first_reading_of_a_run(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1))
    total = log(-2, -0.5, 1.5, 3.5, 5.5, name=ENERGY, values=(7.0, 10.0, 210.0, 410.0, 610.0))
    join(run_set, LOG, [total])
    (energy,) = series_of(run_set)
    assert energy == Series.measured(ENERGY, "W", (-0.5, 1.5, 3.5, 5.5), (0, 200, 400, 600))


def test_a_run_that_the_log_does_not_cover_is_left_out_with_both_spans(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    joined = join(run_set, LOG, [log(*range(-3, 8))])
    assert joined.runs == ("case-r1",)
    reason = joined.left_out["case-r2"]
    assert "ran from 2023-11-14T22:14:20+00:00 to 2023-11-14T22:14:24+00:00" in reason
    assert "readings are from 2023-11-14T22:13:17+00:00 to 2023-11-14T22:13:27+00:00" in reason
    assert series_of(run_set, 2) == ()


@pytest.mark.parametrize("times", [(0.1, 2.0, 4.1), (0.0, 2.0, 3.9)])
def test_a_run_must_be_covered_to_its_ends(tmp_path: Path, times: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"meter\.csv: covers no run of .*\n  case-r1: ran from"):
        join(stored(tmp_path, run(1)), LOG, [log(*times)])


def test_a_log_without_readings_covers_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the readings are none"):
        join(stored(tmp_path, run(1)), LOG, [log()])


def test_a_gap_inside_a_run_leaves_it_out(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    times = [t / 2 for t in range(-2, 140) if not 1 < t / 2 < 3]
    joined = join(run_set, LOG, [log(*times)])
    assert joined.runs == ("case-r2",)
    assert joined.left_out["case-r1"] == (
        "has no reading for 2 s after 2023-11-14T22:13:21+00:00; gaps of at most 1.5 s are "
        "accepted (--max-gap)"
    )


def test_a_fast_logger_may_pause_for_a_second(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1))
    times = [t / 10 for t in range(-2, 50) if not 10 < t < 20]
    assert join(run_set, LOG, [log(*times)]).left_out == {}


def test_a_gap_between_runs_does_not_matter(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    joined = join(run_set, LOG, [log(*range(-1, 6), *range(59, 66))])
    assert joined.left_out == {}


def test_the_bound_on_gaps_can_be_given(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1))
    readings = [log(*range(-9, 1), 4.5)]
    with pytest.raises(InputError, match=r"no reading for 4\.5 s"):
        join(run_set, LOG, readings)
    assert join(run_set, LOG, readings, max_gap=4.5).runs == ("case-r1",)


def test_energy_that_drops_during_a_run_leaves_it_out(tmp_path: Path) -> None:
    total = log(0, 2, 4, name=ENERGY, values=(10.0, 30.0, 5.0))
    with pytest.raises(
        InputError, match="drops from 30 J to 5 J during the run; was the meter reset"
    ):
        join(stored(tmp_path, run(1)), LOG, [total])


def test_a_meter_may_be_reset_between_runs(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    times = (0, 2, 4, 60, 62, 64)
    total = log(*times, name=ENERGY, values=(10.0, 30.0, 50.0, 0.0, 20.0, 40.0))
    assert join(run_set, LOG, [total]).left_out == {}
    assert series_of(run_set, 2)[0].values.tolist() == [0.0, 20.0, 40.0]


def test_a_run_gets_all_columns_or_none(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    power = log(*range(70))
    energy = log(*range(6), name=ENERGY)
    assert join(run_set, LOG, [power, energy]).runs == ("case-r1",)
    assert [series.name for series in series_of(run_set)] == [POWER, ENERGY]
    assert series_of(run_set, 2) == ()


def test_runs_that_a_second_log_does_not_cover_keep_the_first(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1), run(2))
    join(run_set, LOG, [log(*range(6))])
    join(run_set, LOG, [log(*range(60, 66))])
    assert [len(series_of(run_set, repeat)) for repeat in (1, 2)] == [1, 1]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"facts": {}}, "its clock's origin is unknown, since an older llmbench or another"),
        ({"facts": {CLOCK_ORIGIN: None}}, "its time was simulated; set `clock: real`"),
        ({"records": records_table([])}, "no tokens were generated, so the run has no time span"),
    ],
)
def test_a_run_without_a_time_to_cover_is_left_out(
    tmp_path: Path, more: dict[str, Any], reason: str
) -> None:
    run_set = stored(tmp_path, run(1, **more), run(2))
    joined = join(run_set, LOG, [log(*range(70))])
    assert joined.runs == ("case-r2",)
    assert joined.left_out["case-r1"].startswith(reason)


def test_where_no_run_is_covered_up_to_five_reasons_are_given(tmp_path: Path) -> None:
    runs = [run(repeat, facts={}) for repeat in range(1, 8)]
    with pytest.raises(InputError) as caught:
        join(stored(tmp_path, *runs), LOG, [log(*range(6))])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"meter.csv: covers no run of {tmp_path}/set"
    assert [line.split(":")[0].strip() for line in lines[1:6]] == [
        f"case-r{i}" for i in range(1, 6)
    ]
    assert lines[6:] == ["  and 2 more"]


def test_a_run_set_in_which_nothing_was_measured_is_refused(tmp_path: Path) -> None:
    run_set = stored(tmp_path, run(1, failure=Failure("error", "x"), records=records_table([])))
    with pytest.raises(InputError, match="no run was measured"):
        join(run_set, LOG, [log(*range(6))])


ascending = st.lists(st.integers(0, 1000), min_size=2, max_size=40).map(sorted)


@given(times=ascending, data=st.data())
def test_the_kept_readings_just_cover_the_span(times: list[int], data: st.DataObject) -> None:
    within = st.floats(times[0], times[-1])
    begin, end = sorted((data.draw(within), data.draw(within)))
    series = Series.measured(POWER, "W", times, times)
    kept = _around(series, begin, end).times
    assert kept[0] <= begin <= end <= kept[-1]
    assert [time for time in kept[1:] if time < begin] == []
    assert [time for time in kept[:-1] if time > end] == []
    assert {t for t in times if begin <= t <= end} <= set(kept)
    assert all(before <= after for before, after in pairwise(kept))
