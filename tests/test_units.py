"""Durations, sizes and rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from llmbench.units import (
    UNITS,
    Seconds,
    format_bytes,
    format_duration,
    format_number,
    format_scaled,
    parse_bytes,
    parse_rate,
    parse_seconds,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0.5, 0.5),
        (3, 3.0),
        ("500 ms", 0.5),
        ("500ms", 0.5),
        ("2 min", 120.0),
        ("1.5h", 5400.0),
        ("3e2 us", 3e-4),
        ("7", 7.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: object, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds, rel=1e-12)


def test_a_duration_without_a_unit_is_read_where_none_is_needed() -> None:
    assert TypeAdapter(Seconds).validate_python(500) == 500.0


def test_a_duration_is_refused_where_its_unit_is_needed() -> None:
    with pytest.raises(ValidationError, match="needs its unit; write 500 ms or 500 s"):
        TypeAdapter(Seconds).validate_python(500, context=UNITS)


@pytest.mark.parametrize(
    ("text", "size"), [("2 GiB", 2**31), ("64 MB", 64_000_000), (4096, 4096), ("1 B", 1)]
)
def test_a_size_is_read_in_bytes(text: object, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(("text", "rate"), [("4/s", 4.0), ("240 /min", 4.0), (4, 4.0)])
def test_a_rate_is_read_in_events_per_second(text: object, rate: float) -> None:
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("value", ["fast", "", "4 parsecs", True, None, [1], "1 s s"])
def test_anything_but_a_duration_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected a number|unknown unit"):
        parse_seconds(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0213, "21.3 ms"),
        (1.5, "1.50 s"),
        (90, "90.0 s"),
        (150, "2.50 min"),
        (7_500, "2.08 h"),
        (4.2e-6, "4.20 µs"),
        (5e-9, "5.00 ns"),
    ],
)
def test_a_duration_is_shown_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(min_value=1e-8, max_value=1e7))
def test_a_shown_duration_reads_back_within_its_digits(seconds: float) -> None:
    shown = format_duration(seconds).replace(",", "")
    assert parse_seconds(shown) == pytest.approx(seconds, rel=6e-3)


def test_a_size_is_shown_in_binary_units() -> None:
    assert [format_bytes(n) for n in (512, 1536, 2**31)] == ["512 B", "1.50 KiB", "2.00 GiB"]


def test_a_number_is_shown_without_exponent() -> None:
    assert [format_number(x) for x in (0, 1234.5, 0.00123, 12.345)] == [
        "0",
        "1,234",
        "0.00123",
        "12.3",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500 FLOP"), (1500.0, "1.50 kFLOP"), (989.4e12, "989 TFLOP"), (2e15, "2.00 PFLOP")],
)
def test_large_counts_are_written_in_powers_of_a_thousand(value: float, text: str) -> None:
    assert format_scaled(value, "FLOP") == text


@pytest.mark.parametrize("value", [10**400, "1e999 s", float("inf"), float("nan"), -(10**18)])
def test_an_extreme_quantity_is_refused(value: object) -> None:
    for parse in (parse_seconds, parse_bytes, parse_rate):
        with pytest.raises(ValueError, match=r"expected a number below 1e\+18|unknown unit 's'"):
            parse(value)


def test_a_long_text_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="expected a number or text"):
        parse_seconds("1" * 100_000 + " !")
