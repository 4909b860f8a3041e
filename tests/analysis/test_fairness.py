"""Jain's index of classes and servers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.metrics.fairness import KEYS, fairness, jain_index, max_to_mean, widest_ratio
from llmbench.runs.record import Record
from llmbench.runs.run import records_table

amounts = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("x", "index"),
    [
        ([3.0], 1.0),
        ([2.0, 2.0, 2.0], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 0.25),
        ([1.0, 3.0], 0.8),
        ([1e-300, 1e-300], 1.0),
        ([1e200, 1e200], 1.0),
    ],
)
def test_the_index_of_known_amounts(x: list[float], index: float) -> None:
    assert jain_index(x) == pytest.approx(index)


@given(amounts, st.floats(0.01, 100))
def test_the_index_lies_between_one_nth_and_one_in_any_unit(x: list[float], unit: float) -> None:
    assert 1 / len(x) - 1e-9 <= jain_index(x) <= 1 + 1e-9
    assert jain_index([unit * amount for amount in x]) == pytest.approx(jain_index(x))


@given(amounts)
def test_both_are_1_only_for_equal_amounts(x: list[float]) -> None:
    assert jain_index([x[0]] * len(x)) == pytest.approx(1)
    assert widest_ratio([x[0]] * len(x)) == 1
    assert widest_ratio(x) >= 1


def record(number: int, ttft: float, gap: float, **fields: Any) -> Record:
    times = (number + ttft, number + ttft + gap)
    given = {"finish": "length", **fields}
    return Record(number, "measured", number, number, None, times, (1, 1), 4, 2, **given)


def arrays(*records: Record) -> RecordArrays:
    return RecordArrays(records_table(records))


def values(*records: Record) -> dict[str, float | None]:
    return {key: value.value for key, value in fairness(arrays(*records)).items()}


def test_classes_are_compared_by_their_medians() -> None:
    found = values(
        *(record(n, 0.1, 0.02, request_class="chat") for n in range(3)),
        *(record(n + 3, ttft, 0.02, request_class="batch") for n, ttft in enumerate([0.2, 0.3, 9])),
    )
    assert found["class_fairness_ttft"] == pytest.approx(0.8)
    assert found["class_ratio_ttft"] == pytest.approx(3.0)
    assert found["class_fairness_tpot"] == pytest.approx(1.0)
    assert found["class_ratio_tpot"] == pytest.approx(1.0)
    assert found["balance_fairness"] is None


def test_servers_are_compared_by_the_tokens_of_successful_requests() -> None:
    found = values(
        *(record(n, 0.1, 0.02, url="a") for n in range(3)),
        record(3, 0.2, 0.02, url="b"),
        record(4, 0.0, 0.0, url="b", finish="error"),
    )
    assert found["balance_fairness"] == pytest.approx(0.8)
    assert found["balance_ratio_ttft"] == pytest.approx(2.0)


def test_replicas_are_compared_as_servers_are() -> None:
    found = values(
        *(record(n, 0.1, 0.02, replica=0) for n in range(3)), record(3, 0.2, 0.02, replica=1)
    )
    assert found["balance_fairness"] == pytest.approx(0.8)
    assert found["balance_max_mean"] == pytest.approx(1.5)
    assert found["balance_ratio_ttft"] == pytest.approx(2.0)


def test_one_replica_is_compared_with_none() -> None:
    found = fairness(arrays(record(0, 0.1, 0.02, replica=0)))
    assert found["balance_max_mean"].reason == "there is one replica"


@given(amounts)
def test_the_most_is_between_the_mean_and_the_sum(x: list[float]) -> None:
    assert 1 - 1e-9 <= max_to_mean(x) <= len(x) + 1e-9


def test_a_server_without_a_success_has_no_tokens() -> None:
    records = [record(0, 0.1, 0.02, url="a"), record(1, 0.1, 0.02, url="b", finish="error")]
    found = fairness(arrays(*records))
    assert found["balance_fairness"].value == pytest.approx(0.5)
    assert found["balance_ratio_ttft"].reason == "no request of b has this latency"


@pytest.mark.parametrize("fields", [{}, {"request_class": "chat", "url": "a"}])
def test_one_party_is_compared_with_nobody(fields: dict[str, Any]) -> None:
    found = fairness(arrays(record(0, 0.1, 0.02, **fields), record(1, 0.1, 0.02, **fields)))
    assert [found[key].value for key in KEYS] == [None] * len(KEYS)
    assert found["class_ratio_tpot"].reason == "there are not several request classes"
    assert found["balance_fairness"].reason == "there is one server"


def test_records_of_older_versions_have_no_servers() -> None:
    table = records_table([record(0, 0.1, 0.02)]).drop_columns(["url"])
    table = table.append_column("url", pa.nulls(1, pa.string()))
    assert fairness(RecordArrays(table))["balance_fairness"].reason == "there is one server"
