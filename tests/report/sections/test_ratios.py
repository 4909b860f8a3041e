"""Every case as ratios to the first one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_sets

from llmbench.report.results import Results
from llmbench.report.sections import ratios
from llmbench.runs import store
from llmbench.runs.run_set import RunSet


def stored(folder: Path, repeats: int = 1, **spec: Any) -> RunSet:
    """A case with a TTFT of 200 ms, and one that takes half of it."""
    ttfts = {"slow": 0.2, "fast": 0.1}
    plan = [
        small_sets.planned(case, repeat, **spec)
        for case in ttfts
        for repeat in range(1, repeats + 1)
    ]
    small_sets.begun(folder / "set", plan)
    for run in plan:
        store.write_run(folder / "set", small_sets.run_of(run, ttfts[run.case.name]))
    return store.read(folder / "set")


def test_half_the_latency_is_twice_as_good(tmp_path: Path) -> None:
    (ttft,) = [r for r in ratios.ratios(Results(stored(tmp_path))) if r.metric == "ttft_p50"]
    assert ttft.case.name == "fast"
    assert ttft.times == pytest.approx(2.0)


def test_one_process_a_side_gives_no_interval_and_four_give_one(tmp_path: Path) -> None:
    alone, four = (
        ratios.ratios(Results(stored(tmp_path / str(repeats), repeats)))[0] for repeats in (1, 4)
    )
    assert not alone.has_interval
    assert four.has_interval


def test_objectives_have_a_tick_where_a_case_would_meet_them(tmp_path: Path) -> None:
    results = Results(stored(tmp_path, slo={"ttft_p50": 0.05}))
    *_, objective = ratios.chart(results).figure.data
    assert (objective.name, list(objective.y)) == ("objective", ["TTFT p50"])
    assert list(objective.x) == [pytest.approx(4.0)]


def test_a_single_case_has_no_picture(tmp_path: Path) -> None:
    results = Results(store.read(small_sets.stored(tmp_path / "set")))
    assert ratios.chart(results).empty
    assert not ratios.bars(results).rows


def test_bars_grow_to_the_right_where_a_case_is_better(tmp_path: Path) -> None:
    row = ratios.bars(Results(stored(tmp_path))).rows[0]
    assert [cell.text for cell in row[:3]] == ["TTFT p50", "fast", f"{'':>10}│{'█' * 10}"]


@pytest.mark.parametrize(
    ("times", "bar"), [(1.0, f"{'':>10}│{'':<10}"), (0.25, f"{'█' * 10}│{'':<10}"),
                       (2.0, f"{'':>10}│{'█' * 5:<10}")],
)  # fmt: skip
def test_a_bar_is_as_long_as_the_logarithm_of_its_ratio(times: float, bar: str) -> None:
    assert ratios._bar(times, 4.0) == bar
