"""The history of nightly runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from analysis.compare.test_comparison import SIX, run_set
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.analysis import history
from llmbench.errors import InputError
from llmbench.runs.run_set import RunSet


def night(number: int, level: float = 1.0, cpu: str = "A") -> RunSet:
    measured = run_set("nightly", x=[level * value for value in SIX])
    runs = tuple(replace(r, environment={"cpu": {"model": cpu}}) for r in measured.runs)
    return replace(measured, began_at=f"2026-01-{number:02}T03:17:00+00:00", runs=runs)


def levels(*parts: tuple[int, float]) -> list[float]:
    """Return a series with noise of 1 % from (nights, level) parts."""
    rng = np.random.default_rng(1)
    return [
        level * float(np.exp(rng.normal(0, 0.01))) for count, level in parts for _ in range(count)
    ]


def ttft(histories: Sequence[history.MetricHistory]) -> history.MetricHistory:
    (metric_history,) = [h for h in histories if h.metric == "ttft_p50"]
    return metric_history


def test_nights_are_read_in_order(tmp_path: Path) -> None:
    store = tmp_path / "history.jsonl"
    assert history.add(store, [night(2), night(1)]) == 2
    series = ttft(history.histories(history.read(store)))
    assert [moment[:10] for moment in series.nights] == ["2026-01-01", "2026-01-02"]
    assert series.values == pytest.approx([0.10075, 0.10075], rel=1e-6)


def test_a_night_that_is_added_twice_is_stored_once(tmp_path: Path) -> None:
    store = tmp_path / "history.jsonl"
    history.add(store, [night(1)])
    once = store.read_text()
    assert history.add(store, [night(1)]) == 0
    assert store.read_text() == once


def test_stores_that_diverged_merge_by_concatenation(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    history.add(one, [night(1), night(2)])
    history.add(other, [night(1), night(3)])
    (tmp_path / "both.jsonl").write_text(other.read_text() + one.read_text())
    assert len(history.read(tmp_path / "both.jsonl")) == 3


def test_nights_of_another_machine_are_left_out_and_counted(tmp_path: Path) -> None:
    store = tmp_path / "history.jsonl"
    history.add(store, [night(1, cpu="B"), night(2), night(3)])
    series = ttft(history.histories(history.read(store)))
    assert (len(series.values), series.left_out) == (2, 1)


def test_a_few_nights_have_no_change_points(tmp_path: Path) -> None:
    store = tmp_path / "history.jsonl"
    history.add(store, [night(n) for n in range(1, 20)])
    assert ttft(history.histories(history.read(store))).changes is None


def test_a_change_point_has_its_night_and_the_levels(tmp_path: Path) -> None:
    store = tmp_path / "history.jsonl"
    history.add(store, [night(n, 1.0 if n < 15 else 1.1) for n in range(1, 29)])
    (change,) = ttft(history.histories(history.read(store))).changes or ()
    assert change.began_at.startswith("2026-01-15")
    assert change.after / change.before == pytest.approx(1.1)
    assert change.p <= 0.01


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(40, 1.0)], []),
        ([(20, 1.0), (20, 1.05)], [20]),
        ([(15, 1.0), (15, 1.1), (15, 1.0)], [15, 30]),
        ([(30, 1.0), (5, 0.9)], [30]),
    ],
)
def test_change_points_are_exact_to_within_a_night(
    parts: list[tuple[int, float]], expected: list[int]
) -> None:
    indexes = [index for index, _ in history.change_points(levels(*parts))]
    assert len(indexes) == len(expected)
    assert indexes == pytest.approx(expected, abs=1)  # ranks blur the edge by a night


def test_one_slow_night_is_no_change_point() -> None:
    values = levels((40, 1.0))
    values[20] = 3.0
    assert history.change_points(values) == []


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=20, max_size=40))
def test_change_points_ascend_and_leave_nights_between(values: list[float]) -> None:
    edges = [0, *(index for index, _ in history.change_points(values)), len(values)]
    assert all(later - earlier >= 4 for earlier, later in pairwise(edges))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("<<<<<<< ours", r"history\.jsonl:2: not valid JSON: .*the line, or any conflict markers"),
        ("{}", r"history\.jsonl:2: .*missing required field .*; remove the line"),
        ('{"format": "llmbench summary", "version": 7}', r"jsonl:2: .*7 - at `\$\.version`"),
    ],
)
def test_a_foreign_line_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    store = tmp_path / "history.jsonl"
    history.add(store, [night(1)])
    store.write_text(store.read_text() + line + "\n")
    with pytest.raises(InputError, match=message):
        history.read(store)
