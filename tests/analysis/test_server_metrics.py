"""A server's own metrics in the steady window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.server_metrics import KEYS, histogram_quantile, server_metrics
from llmbench.errors import Unavailable
from llmbench.runs.series import Series

BOUNDS = [0.1, 0.2, 0.4]
counts_of = st.lists(st.integers(0, 20), min_size=4, max_size=4).filter(any)


# -- the quantile ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "counts", "expected"),
    [
        (0.5, [10, 0, 0, 0], 0.05),  # from 0, as Prometheus does
        (0.5, [5, 10, 5, 0], 0.15),
        (1.0, [5, 10, 5, 0], 0.4),
        (0.25, [5, 10, 5, 0], 0.1),
        (0.9, [0, 0, 10, 0], 0.38),
    ],
)
def test_a_quantile_is_interpolated_in_its_bucket(
    q: float, counts: list[float], expected: float
) -> None:
    assert histogram_quantile(q, BOUNDS, counts) == pytest.approx(expected)


def test_a_quantile_above_the_last_bound_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"more than 0\.4 s"):
        histogram_quantile(0.9, BOUNDS, [5, 0, 0, 5])


def test_a_histogram_without_observations_has_no_quantile() -> None:
    with pytest.raises(Unavailable, match="counted nothing"):
        histogram_quantile(0.5, BOUNDS, [0, 0, 0, 0])


def test_a_first_bucket_up_to_0_gives_its_bound() -> None:
    assert histogram_quantile(0.5, [0.0, 1.0], [9, 1, 0]) == 0.0


@given(counts_of, st.floats(0.01, 1))
def test_a_quantile_lies_in_the_bucket_of_its_observation(counts: list[int], q: float) -> None:
    observation = np.repeat([0, 1, 2, 3], counts)[max(0, int(np.ceil(q * sum(counts))) - 1)]
    if observation == 3:
        with pytest.raises(Unavailable):
            histogram_quantile(q, BOUNDS, counts)
    else:
        low, high = ([0.0, *BOUNDS][observation], BOUNDS[observation])
        assert low - 1e-12 <= histogram_quantile(q, BOUNDS, counts) <= high + 1e-12


@given(counts_of, st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_quantile_increases_with_its_rank(counts: list[int], p: float, q: float) -> None:
    counts = [*counts[:3], 0]
    if any(counts):
        low, high = (histogram_quantile(rank, BOUNDS, counts) for rank in sorted((p, q)))
        assert low <= high + 1e-12


# -- the window ------------------------------------------------------------------------------------


class FakeRun:
    """The parts of a run that the metrics need."""

    def __init__(self, times: Any, rises: dict[str, Any] | None = None) -> None:
        ones = np.ones(len(times))
        self.series = [Series.measured("server_reading_seconds", "s", times, 0.01 * ones)]
        self.facts: dict[str, Any] = {"server": {"interval": 1.0, "rises": rises or {}}}


class SeveralServers:
    """The parts of a run on several servers that the metrics need."""

    def __init__(self, *rises: dict[str, Any], **gauges: list[float]) -> None:
        times = np.arange(12.0)
        names = ["server", *(f"server{number}" for number in range(2, len(rises) + 1))]
        self.facts = {
            name: {"interval": 1.0, "rises": own} for name, own in zip(names, rises, strict=True)
        }
        self.series = [
            Series.measured(f"{name}_reading_seconds", "s", times, 0.01 + 0 * times)
            for name in names
        ] + [
            Series.measured(f"{name}_{gauge}", "", times, value + 0 * times)
            for gauge, values in gauges.items()
            for name, value in zip(names, values, strict=True)
        ]


def counter(*increments: tuple[int, float]) -> dict[str, Any]:
    return {"bounds": [], "increments": [[number, 0, rise] for number, rise in increments]}


def measured(times: Any, window: tuple[float, float] | None, **rises: Any) -> Any:
    return server_metrics(FakeRun(times, rises), window)  # type: ignore[arg-type]


def test_only_what_was_counted_within_the_window_counts() -> None:
    rises = {
        "prefix_cache_hits": counter((2, 100), (3, 2), (4, 1), (9, 50)),
        "prefix_cache_queries": counter((2, 100), (3, 6), (4, 6), (9, 50)),
        "preemptions": counter((1, 9), (8, 4), (9, 7)),
    }
    values = measured(np.arange(12.0), (2.0, 8.5), **rises)  # readings 2 to 8
    share = values["server_prefix_cache_hit_share"]
    assert (share.value, share.n) == (0.25, 12)
    assert values["server_preemptions"].value == 4


def test_percentiles_are_of_the_observations_in_the_window() -> None:
    ttft = {"bounds": BOUNDS, "increments": [[1, 2, 99], [5, 1, 10]]}
    values = measured(np.arange(12.0), (2.0, 8.5), ttft=ttft)
    assert values["server_ttft_p50"].value == pytest.approx(0.15)
    assert values["server_ttft_p50"].n == 10


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([2.0, 3.0], "2 readings cover 1.00 s of the 6.50 s window"),
        ([], "0 readings cover"),
        ([2.0, 3.0, 7.0, 8.0], "no reading for 4.00 s"),
    ],
)
def test_gaps_make_counters_unavailable(times: list[float], reason: str) -> None:
    values = measured(np.array(times), (2.0, 8.5), preemptions=counter())
    assert reason in values["server_preemptions"].reason


def test_a_reset_is_the_reason() -> None:
    reset = {"unavailable": "counter_reset: the counter decreased during the run"}
    values = measured(np.arange(12.0), (2.0, 8.5), preemptions=reset, ttft=reset)
    assert "counter_reset" in values["server_preemptions"].reason
    assert "counter_reset" in values["server_ttft_p99"].reason


def test_without_a_window_nothing_is_known() -> None:
    assert {value.value for value in measured(np.arange(9.0), None).values()} == {None}


def test_every_key_has_a_value_or_a_reason() -> None:
    for values in (measured(np.arange(12.0), (2.0, 8.5)), measured(np.arange(1.0), (2.0, 8.5))):
        assert tuple(sorted(values)) == tuple(sorted(KEYS))
        assert all(value.reason for value in values.values())


# -- several servers -------------------------------------------------------------------------------


def together(*rises: dict[str, Any], **gauges: list[float]) -> Any:
    return server_metrics(SeveralServers(*rises, **gauges), (2.0, 8.5))  # type: ignore[arg-type]


def test_counts_of_several_servers_are_added() -> None:
    values = together(
        {"prefix_cache_hits": counter((3, 2)), "prefix_cache_queries": counter((3, 6)),
         "preemptions": counter((4, 1))},
        {"prefix_cache_hits": counter((5, 1)), "prefix_cache_queries": counter((5, 18)),
         "preemptions": counter((4, 2), (99, 7))},
    )  # fmt: skip
    assert values["server_prefix_cache_hit_share"].value == 3 / 24
    assert values["server_preemptions"].value == 3


def test_percentiles_are_those_of_all_observations() -> None:
    one = {"ttft": {"bounds": BOUNDS, "increments": [[5, 0, 10]]}}
    other = {"ttft": {"bounds": BOUNDS, "increments": [[5, 2, 10]]}}
    assert together(one, other)["server_ttft_p50"].value == pytest.approx(0.1)
    assert together(one, other)["server_ttft_p50"].n == 20


def test_histograms_with_different_buckets_have_no_common_percentile() -> None:
    one = {"ttft": {"bounds": BOUNDS, "increments": [[5, 0, 10]]}}
    other = {"ttft": {"bounds": [1.0], "increments": [[5, 0, 10]]}}
    assert "different buckets" in together(one, other)["server_ttft_p50"].reason


def test_requests_of_several_servers_are_added_and_parts_of_caches_averaged() -> None:
    values = together({}, {}, running=[2.0, 3.5], kv_cache_percent=[10.0, 50.0])
    assert values["server_running_mean"].value == 5.5
    assert values["server_kv_cache_mean"].value == pytest.approx(0.3)


def test_a_server_whose_counter_was_reset_makes_the_sum_unavailable() -> None:
    reset = {"preemptions": {"unavailable": "counter_reset: the counter decreased"}}
    values = together({"preemptions": counter((3, 1))}, reset)
    assert values["server_preemptions"].reason == "counter_reset: the counter decreased"
