"""The search for the best settings, on values that are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.halving import FIRST, MOST, Beaten, Measured, Objective, Rung, Tuning, search
from llmbench.analysis.values import Value
from llmbench.scenario.rng import stream

HIGHEST = Objective("output_tokens_per_second", "higher")
LOWEST = Objective("ttft_p95", "lower")


def exactly(**values: float) -> Callable[[str, int], Measured]:
    """Settings without noise."""
    return lambda setting, _: Measured(Value(values[setting], 1))


def noisy(share: float, seed: int = 0, /, **values: float) -> Callable[[str, int], Measured]:
    """Settings whose runs differ by a relative standard deviation."""

    def measure(setting: str, repeat: int) -> Measured:
        rng = stream(seed, f"noise of {setting} in repeat {repeat}")
        return Measured(Value(values[setting] * float(rng.lognormal(0, share)), 1))

    return measure


def counts(tuning: Tuning) -> dict[str, int]:
    return {trial.setting: len(trial.runs) for trial in tuning.trials}


def test_settings_without_noise_are_told_apart_in_the_first_rung() -> None:
    tuning = search(exactly(a=1, b=3, c=2), ["a", "b", "c"], HIGHEST)
    assert tuning.outcome == "found"
    assert tuning.rungs == (Rung(runs_each=FIRST, runs=3 * FIRST, left=1, dropped=("a", "c")),)
    assert [trial.setting for trial in tuning.left] == ["b"]
    assert counts(tuning) == {"a": FIRST, "b": FIRST, "c": FIRST}


def test_the_lowest_value_can_be_the_best() -> None:
    tuning = search(exactly(a=1, b=3, c=2), ["a", "b", "c"], LOWEST)
    assert [trial.setting for trial in tuning.left] == ["a"]


def test_the_runs_of_the_settings_that_are_left_double() -> None:
    tuning = search(noisy(0.05, a=100, b=101, c=30), ["a", "b", "c"], HIGHEST)
    assert counts(tuning)["c"] == FIRST
    assert counts(tuning)["a"] == counts(tuning)["b"]
    assert counts(tuning)["a"] in (2 * FIRST, 4 * FIRST, MOST)


def test_a_beaten_setting_has_the_intervals_of_the_rung_that_dropped_it() -> None:
    tuning = search(noisy(0.05, a=100, b=101, c=30), ["a", "b", "c"], HIGHEST)
    beaten = tuning.trials[2].beaten
    assert isinstance(beaten, Beaten)
    assert (beaten.own.n, beaten.best.n) == (FIRST, FIRST)
    assert beaten.own.high < beaten.best.low  # type: ignore[operator]
    assert beaten.by in ("a", "b")
    assert tuning.rungs[0].dropped == ("c",)
    assert [rung.runs_each for rung in tuning.rungs][:2] == [FIRST, 2 * FIRST]


def test_a_setting_is_not_dropped_by_its_figure_alone() -> None:
    tuning = search(noisy(0.5, a=100, b=101), ["a", "b"], HIGHEST)
    assert tuning.outcome == "undecided"
    assert counts(tuning) == {"a": MOST, "b": MOST}
    assert all(trial.status == "left" for trial in tuning.trials)


def test_settings_that_are_equal_in_every_repeat_end_the_search() -> None:
    tuning = search(exactly(a=2, b=2, c=1), ["a", "b", "c"], HIGHEST)
    assert (tuning.outcome, len(tuning.rungs)) == ("equal", 1)
    assert [trial.setting for trial in tuning.left] == ["a", "b"]


def test_a_setting_that_fails_is_out_and_the_others_go_on() -> None:
    def measure(setting: str, repeat: int) -> Measured:
        if setting == "b":
            return Measured(Value.unavailable("failed"), "the server exited with code 1")
        return exactly(a=1, c=2)(setting, repeat)

    tuning = search(measure, ["a", "b", "c"], HIGHEST)
    failed = tuning.trials[1]
    assert (failed.status, failed.rung, len(failed.runs)) == ("failed", 1, 1)
    assert [trial.setting for trial in tuning.left] == ["c"]


def test_a_setting_without_a_value_is_out() -> None:
    def measure(setting: str, repeat: int) -> Measured:
        value = Value(2.0, 1) if setting == "a" or repeat > 1 else Value.unavailable("no window")
        return Measured(value)

    tuning = search(measure, ["a", "b"], HIGHEST)
    assert (tuning.outcome, tuning.trials[1].status) == ("found", "unknown")
    assert tuning.trials[1].reason == "no window"


def test_if_every_setting_fails_none_is_left() -> None:
    tuning = search(lambda *_: Measured(Value.unavailable("f"), "f"), ["a", "b"], HIGHEST)
    assert (tuning.outcome, tuning.left, tuning.runs) == ("failed", [], 2)


@given(st.integers(0, 40))
def test_the_budget_of_runs_is_kept(budget: int) -> None:
    measure, runs = noisy(0.5, a=100, b=101), count()
    tuning = search(
        lambda *run: measure(*run) if next(runs) < budget else None, ["a", "b"], HIGHEST
    )
    assert tuning.runs == budget
    assert tuning.outcome == "budget"


def test_the_settings_of_a_repeat_are_measured_in_random_order() -> None:
    order: list[tuple[str, int]] = []

    def measure(setting: str, repeat: int) -> Measured:
        order.append((setting, repeat))
        return exactly(a=1, b=2, c=3, d=4)(setting, repeat)

    search(measure, [*"abcd"], HIGHEST, seed=1)
    assert [repeat for _, repeat in order] == [1] * 4 + [2] * 4 + [3] * 4
    orders = {tuple(s for s, r in order if r == repeat) for repeat in (1, 2, 3)}
    assert len(orders) > 1
    assert all(sorted(names) == [*"abcd"] for names in orders)


def test_the_best_of_settings_that_differ_by_more_than_their_noise_is_seldom_dropped() -> None:
    """Of 60 searches, at least 57 keep the best; the intervals have a confidence of 95 %."""
    values = {"a": 100.0, "b": 103.0, "c": 90.0, "d": 80.0}
    searches = [search(noisy(0.03, seed, **values), [*values], HIGHEST) for seed in range(60)]
    kept = ["b" in [trial.setting for trial in tuning.left] for tuning in searches]
    assert sum(kept) >= 57
