"""YAML text is read as plain data, with the line of every key and within bounds."""

from __future__ import annotations

from contextlib import suppress
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from llmbench.scenario.yaml_text import MAX_DEPTH, MAX_NODES, YamlTextError, compose, write


def lines(text: str) -> dict[str, int]:
    return {".".join(map(str, at)): line for at, line in compose(text).lines()}


def problem(text: str) -> tuple[int, str]:
    with pytest.raises(YamlTextError) as caught:
        compose(text)
    return caught.value.line, str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment", None),
        ("a: ~", {"a": None}),
        ("a: [1, -2, 0x1f, 0o17, 010, 1_000]", {"a": [1, -2, 31, 15, 10, 1000]}),
        ("a: [1.5, 1e3, -.5, 1_0.5]", {"a": [1.5, 1000.0, -0.5, 10.5]}),
        ("a: [true, False, yes, on]", {"a": [True, False, "yes", "on"]}),
        ("%YAML 1.1\n---\na: [true, No, yes, 010]", {"a": [True, False, True, 8]}),
        ("a: ['1', \"2\", 3 s, +_, ._]", {"a": ["1", "2", "3 s", "+_", "._"]}),
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("1: a\ntrue: b\n: c", {"1": "a", "true": "b", "": "c"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("&k a: 1\nb: *k", {"a": 1, "b": "a"}),
        ("--- {a: 1}\n...\n", {"a": 1}),
    ],
)
def test_plain_data_is_read(text: str, value: Any) -> None:
    assert compose(text).plain() == value


def test_infinite_numbers_are_read() -> None:
    assert compose("[.inf, -.INF]").plain() == [float("inf"), float("-inf")]
    assert str(compose(".nan").plain()) == "nan"


def test_every_key_and_item_has_its_line() -> None:
    text = "a:\n  b: 1\n  c:\n    - 2\n    -\n      d: 3\n"
    assert lines(text) == {"a": 1, "a.b": 2, "a.c": 3, "a.c.0": 4, "a.c.1": 6, "a.c.1.d": 6}


def test_an_alias_has_its_own_line_and_its_keys_have_those_of_the_anchor() -> None:
    assert lines("a: &x\n  b: 1\nc: *x\n") == {"a": 1, "a.b": 2, "c": 3, "c.b": 2}


@pytest.mark.parametrize(
    ("merging", "merged"),
    [
        ("{<<: *one, b: 3}", {"a": 1, "b": 3}),
        ("{b: 3, <<: *one}", {"a": 1, "b": 3}),
        ("{<<: [*one, *two]}", {"a": 1, "b": 2, "c": 4}),
        ("{<<: {d: 5}}", {"d": 5}),
        ("{<<: []}", {}),
        ("{'<<': 1}", {"<<": 1}),
    ],
)
def test_a_merge_key_adds_the_keys_that_are_missing(merging: str, merged: Any) -> None:
    text = f"x: [&one {{a: 1, b: 2}}, &two {{b: 0, c: 4}}]\ny: {merging}\n"
    assert compose(text).plain()["y"] == merged


def test_a_merged_key_has_the_line_where_it_is_written() -> None:
    assert lines("x: &x\n  a: 1\ny:\n  <<: *x\n  b: 2\n")["y.a"] == 2


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: {<<: 3}", 2, "a merge key (<<) takes a mapping"),
        ("a: {<<: [1]}", 1, "a merge key (<<) takes a mapping"),
        ("a: {<<: {}, <<: {}}", 1, "duplicate key '<<'"),
        ("a: 1\nb: 2\na: 3", 3, "duplicate key 'a'"),
        ("a: *x", 1, "no anchor 'x' before this alias"),
        ("a: &x [*x]", 1, "no anchor 'x' before this alias"),
        ("a: 1\n{b: 1}: 2", 2, "expected a key of text or a number, found a mapping"),
        ("a: 1\n? [b]\n: 2", 2, "expected a key of text or a number, found a list"),
        ("a: &x b\n*x : 2", 2, "expected a key of text or a number, found an alias"),
        ("a: !!python/name:os.getcwd x", 1, "YAML tags (!...) are not supported"),
        ("!mine a: 1", 1, "YAML tags (!...) are not supported"),
        ("a: 1\n---\nb: 2", 2, "expected a single document"),
        ("%YAML 1.7\n---\na: 1", 1, "version minor part can only be 2 or 1"),
        ("%YAML 2.0\n---\na: 1", 1, "version 1.* is required"),
        (f"%YAML 1.{'1' * 5000}\n---\na: 1", 1, "digits"),
        ("a: 1\n\tb: 2", 2, "indent with spaces"),
        ("a: [1", 1, "expected ',' or ']'"),
        ("a: b\0c", 1, "control character U+0000; is it UTF-16?"),
        ("a: b\n\x1b", 2, "control character U+001B; remove it"),
        ('a: "\\0"', 1, "control character U+0000"),
        ('a: 1\nb: "\\ud800"', 2, "control character U+D800"),
        ('a: "\\UFFFFFFFF"', 1, ""),
        (f"a: {'9' * 4301}", 1, "an integer of 4,301 digits"),
        ("a: 1\nb: 9223372036854775808", 2, "exceeds 64 bits"),
        ("a: 0x" + "f" * 17, 1, "exceeds 64 bits"),
    ],
)
def test_unusable_text_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    found_line, message = problem(text)
    assert words in message
    assert found_line == line


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "[{a: "])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert problem(opening * 3_000)[1].startswith(f"found more than {MAX_DEPTH} levels")


def test_nesting_through_aliases_is_refused() -> None:
    chain = [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 3_000)]
    assert "levels" in problem("\n".join(["a0: &a0 []", *chain]))[1]


def test_an_alias_bomb_is_refused() -> None:
    bomb = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    line, message = problem("\n".join(["a0: &a0 [1, 2, 3]", *bomb]))
    assert f"more than {MAX_NODES:,} keys and values" in message
    assert line == 5


KEYS = st.from_regex("[a-z]{1,6}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
    | st.from_regex(r"[a-z0-9 '\"#*!|>%@~.-]{0,12}", fullmatch=True),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_what_a_yaml_library_writes_is_read_back(value: Any) -> None:
    written = StringIO()
    YAML(typ="safe", pure=True).dump(value, written)
    assert compose(written.getvalue()).plain() == value


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(YamlTextError):
        compose(text).plain()


@settings(max_examples=30)
@given(st.dictionaries(KEYS, VALUES, min_size=1))
def test_written_data_are_read_as_they_were(spec: dict[str, Any]) -> None:
    assert compose(write(spec)).plain() == spec
