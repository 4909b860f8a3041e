"""The claims about the cases of a run set are judged together, paired by repeat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from llmbench.analysis.compare.judge import CasePair, Processes, judge_claims, limited_by_meters
from llmbench.analysis.compare.verdicts import Verdict
from llmbench.analysis.metrics import METRICS, Value
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

SAMPLES = 700


def processes(values: Mapping[int, float], n: int = SAMPLES) -> Processes:
    """Return processes whose metrics all have the given value by repeat."""
    case = Case("c", "c", "fake", {}, {})
    runs = tuple(
        Run(case, repeat, "2026-01-01T00:00:00+00:00", records_table([])) for repeat in values
    )
    return Processes(runs, tuple(dict.fromkeys(METRICS, Value(v, n)) for v in values.values()))


def numbered(values: Sequence[float]) -> Processes:
    return processes(dict(enumerate(values, start=1)))


SLOW = numbered([2.0, 2.1, 1.9, 2.0, 2.2])
FAST = numbered([1.0, 1.1, 0.9, 1.0, 1.1])


def test_a_claim_bounds_how_many_times_better_a_case_is() -> None:
    (claim,) = judge_claims([(CasePair(SLOW, FAST), "ttft_p50")])
    assert claim.holds
    assert claim.low is not None
    assert claim.high is not None
    assert 1.8 < claim.low < 2.0 < claim.high < 2.2
    assert claim.repeats == 5


def test_higher_is_better_turns_the_ratio_round() -> None:
    faster, slower = judge_claims(
        [
            (CasePair(FAST, SLOW), "output_tokens_per_second"),
            (CasePair(SLOW, FAST), "output_tokens_per_second"),
        ]
    )
    assert (faster.holds, slower.holds) == (True, False)


def test_what_both_cases_share_in_a_repeat_cancels() -> None:
    machine = np.array([1.0, 3.0, 1.5, 2.0, 8.0])
    fast, slow = numbered((1.0 * machine).tolist()), numbered((1.1 * machine).tolist())
    (claim,) = judge_claims([(CasePair(slow, fast), "ttft_p50")])
    assert claim.holds
    assert [claim.low, claim.high] == pytest.approx([1.1, 1.1])


def test_repeats_are_paired_by_number_and_unpaired_ones_do_not_count() -> None:
    slow = processes({1: 2.0, 2: 4.0, 3: 6.0, 5: 8.0, 6: 10.0})
    fast = processes({6: 5.0, 5: 4.0, 4: 99.0, 3: 3.0, 2: 2.0})
    (claim,) = judge_claims([(CasePair(slow, fast), "ttft_p50")])
    assert claim.repeats == 4
    assert [claim.low, claim.high] == pytest.approx([2, 2])


def test_the_more_is_claimed_the_stronger_each_claim_has_to_be() -> None:
    close = numbered([1.0, 1.1, 0.9, 1.0, 1.1]), numbered([1.1, 1.2, 1.05, 1.05, 1.3])
    pair = CasePair(close[1], close[0])
    (alone,) = judge_claims([(pair, "ttft_p50")])
    among_many = judge_claims([(pair, "ttft_p50"), *[(CasePair(SLOW, SLOW), "ttft_p50")] * 20])[0]
    assert (alone.holds, among_many.holds) == (True, False)
    assert alone.low is not None
    assert among_many.low is not None
    assert among_many.low < alone.low


@pytest.mark.parametrize(("repeats", "needed"), [(0, 3), (1, 3), (2, 3)])
def test_too_few_repeats_support_no_claim(repeats: int, needed: int) -> None:
    slow, fast = (numbered([v] * repeats) for v in (2.0, 1.0))
    (claim,) = judge_claims([(CasePair(slow, fast), "ttft_p50")])
    assert (claim.holds, claim.low, claim.needed) == (False, None, needed)


def test_a_metric_that_cannot_be_judged_has_the_reason() -> None:
    few = processes(dict.fromkeys(range(1, 6), 1.0), n=8)
    (claim,) = judge_claims([(CasePair(SLOW, few), "ttft_p50")])
    assert (claim.holds, claim.reason) == (
        False,
        "a process has 8 samples; the percentile needs 11",
    )


def test_nothing_to_claim_is_no_error() -> None:
    assert judge_claims([]) == []


def test_meters_that_may_disagree_make_no_energies_equal() -> None:
    equal, worse = (Verdict(outcome, None, 0.1) for outcome in ("equivalent", "regression"))
    limited = limited_by_meters(equal, 0.1)
    assert (limited.outcome, limited.reason) == (
        "inconclusive",
        "energy meters of two devices may disagree by 10 %",
    )
    assert limited_by_meters(equal, 0.0) == equal
    assert limited_by_meters(worse, 0.1) == worse
