"""Texts from servers, well-formed and not."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.collectors.server.exposition import LINE_LENGTH, LINES, OPENMETRICS, parse
from llmbench.errors import Unavailable

TEXT = "text/plain; version=0.0.4"


def values(text: str, *metrics: str, content_type: str = TEXT) -> list[tuple[str, float]]:
    return [(s.metric, s.value) for s in parse(text.encode(), content_type, metrics)]


def test_a_counter_has_its_name_with_and_without_total() -> None:
    assert values("a_total 1\nb 2\n", "a", "b") == [("a", 1.0), ("b", 2.0)]


def test_labels_may_contain_anything() -> None:
    (sample,) = parse(b'a{x="}\\"\\n,",y=""} 1\n', TEXT, ["a"])
    assert dict(sample.labels) == {"x": '}"\n,', "y": ""}


def test_a_timestamp_is_ignored() -> None:
    assert values("a 1 1395066363000\n", "a") == [("a", 1.0)]


def test_line_ends_may_be_those_of_windows() -> None:
    assert values("# TYPE a gauge\r\na 1\r\n", "a") == [("a", 1.0)]


def test_an_unknown_metric_may_be_malformed() -> None:
    assert values('bad{ 1\na 1\nworse{x="} nan nan\n', "a") == [("a", 1.0)]


def test_openmetrics_has_its_own_parser() -> None:
    text = '# TYPE a counter\na_total{x="1"} 2.0 # {trace_id="x"} 1.0\n# EOF\n'
    assert values(text, "a", content_type=f"{OPENMETRICS}; version=1.0.0") == [("a", 2.0)]


def test_openmetrics_without_its_end_is_cut_off() -> None:
    with pytest.raises(Unavailable, match="cut off"):
        values("# TYPE a gauge\na 1\n", "a", content_type=OPENMETRICS)


@pytest.mark.parametrize("text", ["a\n", "a one\n", 'a{x="1} 1\n', "a{x} 1\n"])
def test_a_malformed_known_metric_is_unavailable(text: str) -> None:
    with pytest.raises(Unavailable, match="not a Prometheus text"):
        values(text, "a")


def test_a_page_has_no_samples() -> None:
    assert values("<!DOCTYPE html><html>a 1</html>", "a") == []


def test_bytes_that_are_not_utf8_are_unavailable() -> None:
    with pytest.raises(Unavailable, match="UnicodeDecodeError"):
        parse(b"a 1\n\xff\xfe", TEXT, ["a"])


def test_the_number_of_known_series_is_limited() -> None:
    text = "".join(f'a{{x="{number}"}} 1\n' for number in range(LINES + 1))
    with pytest.raises(Unavailable, match="more than 10,000 series"):
        values(text, "a")
    assert values(text, "b") == []


def test_the_length_of_a_line_is_limited() -> None:
    with pytest.raises(Unavailable, match="line of more than"):
        values(f'a{{x="{"x" * LINE_LENGTH}"}} 1\n', "a")


@given(st.one_of(st.binary(), st.text().map(str.encode), st.from_regex(rb"(a(\{.*\})? .*\n)+")))
@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_nothing_else_is_raised(content_type: str, content: bytes) -> None:
    with suppress(Unavailable):
        assert all(sample.metric == "a" for sample in parse(content, content_type, ["a"]))
