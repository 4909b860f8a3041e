"""Metrics of answers that must have a form, and of answers under load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.metrics.answers import answer_values
from llmbench.analysis.metrics.under_load import under_load_values
from llmbench.analysis.stats import wilson_interval
from llmbench.runs.record import Record
from llmbench.runs.run import NOT_CHECKED, Compared, UnderLoad, records_table


def record(number: int, seconds: float, **more: Any) -> Record:
    """Return a request due at its number whose two tokens come after ``seconds`` and twice that."""
    return Record(
        number, "measured", float(number), float(number), float(number),
        (number + seconds, number + 2 * seconds), (1, 1), 4, 8, more.pop("finish", "eos"), **more,
    )  # fmt: skip


def judged(number: int, reason: str | None = None, **more: Any) -> Record:
    """Return a request whose answer is valid, unless there is a reason why not."""
    plain = {"valid": reason is None, "constraint": "tools", "invalid_reason": reason}
    return record(number, 1.0, **{**plain, **more})


def values(*records: Record) -> dict[str, Any]:
    return answer_values(RecordArrays(records_table(records)))


def test_the_share_of_valid_answers_is_of_those_that_were_judged() -> None:
    share = values(
        judged(0),
        judged(1),
        judged(2, "no tool call"),
        judged(3, "text instead of a tool call", valid=None),
        judged(4, valid=None, finish="error"),
        record(5, 1.0),
    )["valid_answers"]
    assert (share.value, share.n) == (2 / 3, 3)


def test_without_a_judged_answer_the_reason_is_theirs() -> None:
    assert values(judged(0, "too long", valid=None))["valid_answers"].reason == "too long"
    assert values(judged(0, valid=None))["valid_answers"].reason == "no answer was validated"


def test_without_constraints_nothing_is_known() -> None:
    reasons = {value.reason for value in values(record(0, 1.0)).values()}
    assert reasons == {"no request constrains its answer"}


def test_the_cost_is_the_geometric_mean_of_the_ratios_of_prompts() -> None:
    costs = values(
        record(0, 1.0, prompt_id="a"),
        record(1, 3.0, prompt_id="a"),
        record(2, 4.0, prompt_id="a", constraint="tools"),  # twice the mean
        record(3, 1.0, prompt_id="b"),
        record(4, 8.0, prompt_id="b", constraint="tools"),
        record(5, 100.0, prompt_id="c", constraint="tools"),  # without a pair
        record(6, 100.0),
    )
    for latency in ("ttft", "tpot", "e2e"):
        cost = costs[f"constrained_{latency}_ratio"]
        assert (cost.value, cost.n) == (pytest.approx(4.0), 2)


def test_without_pairs_the_cost_is_unknown() -> None:
    cost = values(record(0, 1.0, prompt_id="a", constraint="tools"))["constrained_ttft_ratio"]
    assert cost.reason == "no prompt was sent with and without its constraint"


# -- under load ------------------------------------------------------------------------------------


def compared(alike: int, **more: Any) -> Compared:
    plain = {"changes_alone": False, "neighbors": 1.0}
    return Compared(0, 8, alike, **{**plain, **more})


def test_shares_of_changed_and_right_answers() -> None:
    answers = (
        compared(8, right_alone=True, right_under_load=True),
        compared(2, right_alone=True, right_under_load=False),
        compared(5, changes_alone=True),
        compared(8),
    )
    found = under_load_values(UnderLoad("tokens", answers))
    assert (found["changed_under_load"].value, found["changed_under_load"].n) == (0.5, 4)
    assert found["changed_alone"].value == 0.25
    assert (found["accuracy_alone"].value, found["accuracy_alone"].n) == (1.0, 2)
    assert found["accuracy_under_load"].value == 0.5
    assert (found["first_change_tokens"].value, found["first_change_tokens"].n) == (3.5, 2)
    assert found["first_change_characters"].reason == "answers were compared as tokens"


def test_what_was_not_compared_has_a_reason() -> None:
    assert {value.reason for value in under_load_values(NOT_CHECKED).values()} == {
        "the scenario sets no `quality.under_load`"
    }
    same = under_load_values(UnderLoad("characters", (compared(8),)))
    assert same["first_change_characters"].reason == "no answer changed"
    assert same["accuracy_alone"].reason == "the rows have no right answers"
    assert replace(NOT_CHECKED, reason=None) != NOT_CHECKED


# -- Wilson's interval -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [  # Newcombe, Statistics in Medicine 17, 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_intervals_are_those_of_the_literature(count: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(count, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_contains_the_share_and_mirrors_that_of_the_rest(pair: tuple[int, int]) -> None:
    count, n = pair
    low, high = wilson_interval(count, n)
    assert 0 <= low <= count / n <= high <= 1
    assert wilson_interval(n - count, n) == pytest.approx((1 - high, 1 - low))
    assert (low == 0, high == 1) == (count == 0, count == n)


@pytest.mark.parametrize(("count", "n"), [(1, 0), (-1, 4), (5, 4)])
def test_impossible_counts_are_errors(count: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= count <= n"):
        wilson_interval(count, n)
