"""What the requests of a class have of their own, in a scenario."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llmbench.scenario.rng import stream
from llmbench.scenario.route import Route

names = st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True)


def models(model: Any, count: int, seed: int = 0) -> list[str | None]:
    route = Route.model_validate({"model": model})
    return list(islice(route.models(stream(seed, "models")), count))


def test_a_class_without_a_model_names_none() -> None:
    assert list(islice(Route().models(stream(0, "models")), 2)) == [None, None]


def test_a_name_is_the_model_of_all_requests() -> None:
    assert models("llama", 3) == ["llama", "llama", "llama"]


def test_models_are_drawn_with_equal_probability() -> None:
    counts = Counter(models({"uniform": ["a", "b", "c"]}, 30_000))
    assert set(counts) == {"a", "b", "c"}
    assert all(abs(count - 10_000) < 300 for count in counts.values())


def test_models_are_drawn_by_the_law_of_zipf() -> None:
    counts = Counter(models({"zipf": {"s": 1.0, "of": ["a", "b", "c"]}}, 60_000))
    expected = np.array([6, 3, 2]) / 11
    observed = np.array([counts[name] for name in "abc"]) / 60_000
    assert observed == pytest.approx(expected, abs=0.006)


def test_draws_do_not_change_between_releases() -> None:
    zipf = {"zipf": {"s": 1.1, "of": ["a", "b", "c", "d"]}}
    assert "".join(map(str, models(zipf, 12, seed=3))) == "aababcbbbaba"


@given(names, st.floats(0, 5), st.integers(0, 9))
def test_a_seed_always_draws_the_same_known_names(of: list[str], s: float, seed: int) -> None:
    drawn = models({"zipf": {"s": s, "of": of}}, 20, seed)
    assert drawn == models({"zipf": {"s": s, "of": of}}, 20, seed)
    assert set(drawn) <= set(of)


@given(names, st.integers(0, 9))
def test_an_exponent_of_0_draws_as_with_equal_probability(of: list[str], seed: int) -> None:
    assert models({"zipf": {"s": 0, "of": of}}, 20, seed) == models({"uniform": of}, 20, seed)


def test_an_extreme_exponent_draws_the_first_name() -> None:
    many = [f"adapter-{number}" for number in range(2000)]
    assert set(models({"zipf": {"s": 100, "of": many}}, 50)) == {"adapter-0"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": {"uniform": []}}, "at least 1 item"),
        ({"model": {"uniform": ["a", "b", "a"]}}, "'a' is listed twice"),
        ({"model": {"uniform": ["a"], "fixed": "b"}}, "exactly one of fixed, uniform, zipf"),
        ({"model": {}}, "exactly one of fixed, uniform, zipf"),
        ({"model": {"zipf": {"s": -1, "of": ["a"]}}}, "greater than or equal to 0"),
        ({"model": {"zipf": {"s": float("nan"), "of": ["a"]}}}, "finite number"),
        ({"model": {"zipf": {"s": 1}}}, "Field required"),
        ({"model": {"zipf": 1.1}}, "an exponent and names"),
        ({"model": ["a", "b"]}, "a name, {uniform"),
        ({"model": ""}, "at least 1 character"),
        ({"model": "a\nb"}, "pattern"),
        ({"body": {"model": "a"}}, "set `model` of the class"),
        ({"body": {"priority": 1}}, "set `priority` of the class"),
        ({"body": {"stream": False}}, "`stream` cannot be set here"),
        ({"body": {"messages": []}}, "`messages` cannot be set here"),
        ({"body": {"n": 2}}, "each request has one answer"),
        ({"priority": 1.5}, "valid integer"),
        ({"priority": 2**31}, "less than"),
        ({"url": "localhost:8000"}, "expected http"),
        ({"url": "http://a?key=1"}, "no query"),
        ({"headers": {"X": "a\r\nb"}}, "not a valid HTTP header"),
    ],
)
def test_what_is_not_valid_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Route.model_validate(fields)


SECRET = "hush-0123456789"  # noqa: S105 (not one)


@pytest.mark.parametrize(
    "fields",
    [
        {"url": f"http://me:{SECRET}@localhost"},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
        {"headers": {"X-Api-Key": SECRET}},
        {"headers": {"X": f"Bearer {SECRET}"}},
        {"body": {"api_key": SECRET}},
        {"body": {"nested": [{"password": SECRET}]}},
    ],
    ids=str,
)
def test_a_secret_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        Route.model_validate(fields)
    assert SECRET not in " ".join(error["msg"] for error in raised.value.errors())


def test_a_variable_is_accepted() -> None:
    fields = {"headers": {"Authorization": "Bearer ${TENANT_KEY}"}, "body": {"key": "${A_KEY}"}}
    assert Route.model_validate(fields).given == ["headers", "body"]


def test_the_priority_is_a_field_of_the_body() -> None:
    route = Route(body={"min_tokens": 3}, priority=-5)
    assert route.fields == {"min_tokens": 3, "priority": -5}
    assert route.given == ["body", "priority"]
    assert Route(priority=0).given == ["priority"]
