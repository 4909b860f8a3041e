"""Increases of counters and histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.collectors.server.exposition import Sample
from llmbench.collectors.server.rises import MOST, Rises

Counts = Mapping[str, float]


def counters(values: Counts) -> list[Sample]:
    return [Sample("a", frozenset({("engine", name)}), value) for name, value in values.items()]


def buckets(cumulative: Mapping[str, float], **labels: str) -> list[Sample]:
    return [
        Sample("a", frozenset({("le", bound), *labels.items()}), count)
        for bound, count in cumulative.items()
    ]


def counted(*readings: Counts) -> Rises:
    rises = Rises(is_histogram=False)
    for number, values in enumerate(readings):
        rises.take(number, counters(values))
    return rises


def test_an_increase_is_summed_over_label_sets() -> None:
    rises = counted({"0": 5, "1": 7}, {"0": 6, "1": 9}, {"0": 6, "1": 9}, {"0": 10, "1": 9})
    assert rises.facts() == {"bounds": [], "increments": [[1, 0, 3], [3, 0, 4]]}


def test_a_label_set_that_appears_counts_from_0() -> None:
    assert counted({}, {"0": 4}).increments == [[1, 0, 4]]


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ([{"0": 5}, {"0": 4}], "counter_reset: the counter decreased"),
        ([{"0": 5, "1": 5}, {"0": 4, "1": 9}], "counter_reset: the counter decreased"),
        ([{"0": 5, "1": 5}, {"0": 6}], "counter_reset: a label set disappeared"),
        ([{"0": 5}, {"0": math.nan}], "is nan, which is not a count"),
        ([{"0": math.inf}], "is inf, which is not a count"),
        ([{"0": -1}], "is -1, which is not a count"),
        ([{"0": 2 * MOST}], "which is not a count"),
    ],
)
def test_a_counter_that_is_not_one_is_unavailable(readings: Sequence[Counts], reason: str) -> None:
    rises = counted(*readings, {"0": 100, "1": 100})
    assert reason in rises.facts()["unavailable"]


def test_a_restart_makes_a_counter_unavailable_even_if_it_did_not_decrease() -> None:
    rises = counted({"0": 5})
    rises.restart()
    assert rises.take(1, counters({"0": 50})) is None
    assert "restarted" in rises.facts()["unavailable"]


def test_a_metric_that_was_never_there_is_unavailable() -> None:
    assert Rises(is_histogram=True).facts() == {"unavailable": "the server has no such metric"}


@given(
    st.lists(st.dictionaries(st.sampled_from("012"), st.integers(0, 50), min_size=3), min_size=1)
)
def test_increments_add_up_to_the_difference_or_are_unavailable(readings: list[Counts]) -> None:
    rises = counted(*readings)
    has_reset = any(
        late[name] < early[name] for early, late in pairwise(readings) for name in early
    )
    assert (rises.unavailable is not None) == has_reset
    if not has_reset:
        total = sum(increment for _, _, increment in rises.increments)
        assert total == sum(readings[-1].values()) - sum(readings[0].values())
    assert all(increment > 0 for _, _, increment in rises.increments)


def test_a_histogram_has_the_increase_of_each_bucket_alone() -> None:
    rises = Rises(is_histogram=True)
    rises.take(0, buckets({"0.1": 1, "1": 2, "+Inf": 2}))
    assert rises.take(1, buckets({"0.1": 1, "1": 5, "+Inf": 6})) == 4
    assert rises.facts() == {"bounds": [0.1, 1.0], "increments": [[1, 1, 3], [1, 2, 1]]}


def test_histograms_of_several_engines_are_summed() -> None:
    rises = Rises(is_histogram=True)
    for number in (0, 1):
        counts = {"0.1": 2 * number, "+Inf": 5 * number}
        rises.take(number, [*buckets(counts, engine="0"), *buckets(counts, engine="1")])
    assert rises.increments == [[1, 0, 4], [1, 1, 6]]


@pytest.mark.parametrize(
    "samples",
    [
        buckets({"0.1": 1}),
        buckets({"nan": 1, "+Inf": 1}),
        buckets({"many": 1, "+Inf": 1}),
        counters({"0": 1}),
        [*buckets({"0.1": 1, "+Inf": 1}, e="0"), *buckets({"0.2": 1, "+Inf": 1}, e="1")],
    ],
)
def test_what_has_no_proper_buckets_is_unavailable(samples: list[Sample]) -> None:
    rises = Rises(is_histogram=True)
    rises.take(0, samples)
    assert rises.facts()["unavailable"]


@given(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=5))
def test_a_histogram_returns_the_observations_that_were_made(made: list[list[int]]) -> None:
    rises, bounds = Rises(is_histogram=True), ("0.1", "0.5", "1", "+Inf")
    total = np.zeros(4)
    for number, counts in enumerate(made):
        total += counts
        rises.take(number, buckets(dict(zip(bounds, np.cumsum(total).tolist(), strict=True))))
    expected = [
        [number, bucket, count]
        for number, counts in enumerate(made)
        for bucket, count in enumerate(counts)
        if number and count
    ]
    assert rises.increments == expected
