"""A comparison leads with what is incomplete and with the largest changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import small_sets

from llmbench.analysis.compare.comparison import compare
from llmbench.report.comparison.answer import answer, as_json
from llmbench.runs.run_set import RunSet

TTFT = {"ttft_p50": 0.03}
SIX = (0.100, 0.101, 0.102, 0.0995, 0.1005, 0.1015)


def run_set(folder: Path, **ttfts: Sequence[float]) -> RunSet:
    """A run set in which the processes of each case have these TTFTs."""
    plan = [small_sets.planned(c, n) for c, each in ttfts.items() for n in range(1, len(each) + 1)]
    runs = tuple(small_sets.run_of(p, ttft=ttfts[p.case.name][p.repeat - 1]) for p in plan)
    return replace(small_sets.begun(folder, plan), runs=runs)


def said(
    folder: Path, baseline: Mapping[str, Sequence[float]], **candidate: Sequence[float]
) -> list[str]:
    sides = run_set(folder / "a", **baseline), run_set(folder / "b", **candidate)
    return answer(compare(*sides, TTFT))


@pytest.mark.parametrize(
    ("before", "after", "needed"),
    [([0.037], [0.137], "at least 4"), ([0.037, 0.037, 0.038], [0.137, 0.12, 0.14], "about 4")],
)
def test_a_large_change_of_few_processes_is_said_to_be_unproven(
    tmp_path: Path, before: list[float], after: list[float], needed: str
) -> None:
    first, *_ = said(tmp_path, {"slow": before}, slow=after)
    assert first.startswith("TTFT p50 of slow: +2")
    assert first.endswith(f"unproven; {needed} processes per side would tell.")


def test_values_of_both_sides_are_shown_with_one_unit(tmp_path: Path) -> None:
    first, *_ = said(tmp_path, {"slow": [0.037]}, slow=[0.137])
    assert "+270 % (37.0 → 137 ms)" in first


def test_proven_changes_come_before_larger_unproven_ones(tmp_path: Path) -> None:
    slower, noisy = [1.2 * ttft for ttft in SIX], [0.2, 0.05, 0.9, 0.2, 0.9, 0.06]
    regression, unproven, counts = said(
        tmp_path, {"noisy": SIX, "slow": SIX}, noisy=noisy, slow=slower
    )
    assert regression == (
        "TTFT p50 of slow: +20.0 % (101 → 121 ms), a regression (95 % interval +18.2 % to +21.8 %)."
    )
    assert unproven.startswith("TTFT p50 of noisy: +")
    assert counts == "1 regression, 1 inconclusive in 2 cases."


def test_counts_of_several_verdicts_have_a_plural_where_they_are_nouns(tmp_path: Path) -> None:
    slower, faster = [1.2 * ttft for ttft in SIX], [0.8 * ttft for ttft in SIX]
    baseline = dict.fromkeys("abcdef", SIX)
    sides = {"a": slower, "b": slower, "c": faster, "d": faster, "e": SIX, "f": SIX}
    *_, counts = said(tmp_path, baseline, **sides)
    assert counts == "2 regressions, 2 improvements, 2 equivalent in 6 cases."


def test_small_changes_are_not_listed(tmp_path: Path) -> None:
    assert said(tmp_path, {"x": SIX}, x=SIX) == [
        "No metric changed by more than its tolerance.",
        "1 equivalent in 1 case.",
    ]


def test_only_the_largest_changes_are_listed_and_the_others_counted(tmp_path: Path) -> None:
    cases = {f"case{n}": [0.1] for n in range(7)}
    slower = {name: [0.1 * (2 + n)] for n, name in enumerate(cases)}
    lines = said(tmp_path, {**cases}, **slower)
    assert lines[0].startswith("TTFT p50 of case6: +700 %")
    assert lines[5] == "2 more changes beyond the tolerance: see the verdicts."


def test_incomplete_sides_and_missing_cases_are_said_first(tmp_path: Path) -> None:
    baseline, candidate = run_set(tmp_path / "a", x=SIX, y=SIX), run_set(tmp_path / "b", x=SIX)
    candidate = replace(candidate, runs=candidate.runs[:4])
    assert answer(compare(baseline, candidate, TTFT))[:2] == [
        "The candidate is incomplete: 4 of 6 runs measured, 2 not measured yet.",
        "Not in the candidate: y.",
    ]


def test_cases_that_cannot_be_compared_are_said_with_the_reason(tmp_path: Path) -> None:
    baseline, candidate = run_set(tmp_path / "a", x=SIX), run_set(tmp_path / "b", x=SIX)
    other = replace(candidate.runs[0].case, spec={**candidate.runs[0].case.spec, "requests": 7})
    candidate = replace(candidate, runs=tuple(replace(run, case=other) for run in candidate.runs))
    assert answer(compare(baseline, candidate, TTFT))[0].startswith("x cannot be compared: ")


def test_json_has_the_same_answer_and_both_values(tmp_path: Path) -> None:
    comparison = compare(run_set(tmp_path / "a", x=[0.1]), run_set(tmp_path / "b", x=[0.2]), TTFT)
    data = as_json(comparison)
    assert data["answer"] == answer(comparison)
    assert data["cases"][0]["values"]["ttft_p50"] == pytest.approx([0.1, 0.2])
