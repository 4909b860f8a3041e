"""Files are read in one way: bounded, decoded by rule, and with errors that name the place."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import FileError
from llmbench.runs.files import (
    atomic_write,
    cache_folder,
    decoded,
    numbered_lines,
    parse_json,
    read_bytes,
    read_json,
    read_json_lines,
    read_text,
    unpacked,
)

# -- writing ---------------------------------------------------------------------------------------


def test_writing_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    atomic_write(tmp_path / "a.txt", "ä")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text("utf-8") == "ä"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(tmp_path / "a.txt", "\ud800")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path))
    assert cache_folder("roof") == tmp_path / "roof"
    monkeypatch.delenv("LLMBENCH_CACHE")
    assert cache_folder("roof") == platformdirs.user_cache_path("llmbench") / "roof"


# -- bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_gzip_is_recognized_by_its_content(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"text"))
    assert read_text(path) == "text"
    path.write_bytes(b"text")
    assert read_text(path) == "text"


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(FileError, match=r"none: cannot be read: No such file .*; check the path"):
        read_bytes(path)


def test_a_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: Is a directory"):
        read_bytes(tmp_path)


def test_a_pipe_is_an_error_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="cannot be read: not a regular file"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(FileError, match="cannot be read: not a regular file"):
        read_bytes(Path("/dev/null"))


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-this-name/a", "a" * 5000])
def test_an_impossible_path_is_an_error(path: str) -> None:
    with pytest.raises(FileError, match=r"cannot be read: .*check the path"):
        read_bytes(Path(path))


def test_a_file_above_the_bound_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(2048))
    with pytest.raises(FileError, match=r"a: has more than 1\.00 KiB; split it"):
        read_bytes(tmp_path / "a", most=1024)


def test_a_small_file_that_decompresses_beyond_the_bound_is_an_error() -> None:
    with pytest.raises(FileError, match=r"has more than 1\.00 KiB"):
        unpacked(gzip.compress(bytes(2048)), "a", most=1024)
    bomb = gzip.compress(bytes(2**26 + 1))
    with pytest.raises(FileError, match=r"has more than 64\.0 MiB"):
        unpacked(bomb, "a")


def test_damaged_gzip_is_an_error() -> None:
    whole = gzip.compress(b"text" * 100)
    for damaged in (whole[:-1], whole[:12], whole[:15] + b"xxxx" + whole[19:]):
        with pytest.raises(FileError, match=r"is damaged gzip: .*copy it again"):
            unpacked(damaged, "a")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"(\xb5/\xfd....", "compressed with Zstandard"),
        (b"PK\x03\x04....", "a ZIP archive or a spreadsheet"),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(FileError, match=rf"a: is {name}; save it as text"):
        unpacked(data, "a")


# -- text ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_decoded_by_its_byte_order_mark(encoding: str) -> None:
    assert decoded("ä\u2028😀".encode(encoding), "a") == "ä\u2028😀"


def test_big_endian_text_is_decoded_by_its_byte_order_mark() -> None:
    assert decoded(b"\xfe\xff" + "ä".encode("utf-16-be"), "a") == "ä"


def test_a_byte_that_is_not_text_is_named_with_its_line() -> None:
    with pytest.raises(FileError, match=r"a:2: byte 5 of the file \(0xff\) is not UTF-8; save it"):
        decoded(b"ab\nc\xff", "a")


def test_the_byte_order_mark_counts_as_bytes_of_the_file() -> None:
    with pytest.raises(FileError, match=r"a:1: byte 4 of the file \(0xff\)"):
        decoded(b"\xef\xbb\xbf\xff", "a")


def test_half_a_character_of_utf_16_is_an_error() -> None:
    with pytest.raises(FileError, match=r"byte 3 of the file \(0x41\) is not UTF-16-LE"):
        decoded(b"\xff\xfeA", "a")


def test_nul_characters_are_an_error() -> None:
    with pytest.raises(FileError, match=r"a:2: found a NUL character; expected text"):
        decoded(b"one\n\x00", "a")


def test_a_byte_order_mark_may_begin_any_line() -> None:
    assert list(numbered_lines("\ufeffa\n\ufeffb")) == [(1, "a"), (2, "b")]


def test_lines_end_in_line_feeds_only() -> None:
    text = "a\u2028b\x85c\x0bd\x0ce\rf\r\n\n  \ng"
    assert list(numbered_lines(text)) == [(1, "a\u2028b\x85c\x0bd\x0ce\rf"), (4, "g")]


# -- JSON ------------------------------------------------------------------------------------------


def test_invalid_json_is_an_error_with_line_and_column() -> None:
    with pytest.raises(FileError, match=r"a:2: not valid JSON: Expecting value at column 6; mend"):
        parse_json('{"a": 1,\n "b":}', "a", remedy="mend")
    with pytest.raises(FileError, match=r"a:7: not valid JSON: Expecting value at column 1"):
        parse_json("x", "a", 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("[" * 100_000, "nested too deeply"), ("1" * 5000, "a number has more than 4,300 digits")],
)
def test_json_beyond_the_bounds_of_python_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(FileError, match=f"a: not valid JSON: {problem}"):
        parse_json(text, "a")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"cut \ud83d"', "cut \ufffd"),
        (r'"cut \uDE00"', "cut \ufffd"),
        (r'"whole \ud83d\ude00"', "whole 😀"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (r'"\\ud83d"', r"\ud83d"),
        (r'"\\\ud83d"', "\\\ufffd"),
    ],
)
def test_half_a_surrogate_pair_becomes_a_replacement_character(text: str, value: str) -> None:
    assert parse_json(text, "a") == value


@given(st.text(st.characters()))
def test_any_json_string_can_be_encoded(text: str) -> None:
    read = parse_json(json.dumps(text), "a")
    assert read == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def test_a_file_without_an_object_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(FileError, match=r"a\.json: found \[1\]; expected a JSON object; do this"):
        read_json(tmp_path / "a.json", "do this")


def test_json_lines_have_numbers_texts_and_values(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\r\n\n[2]')
    assert list(read_json_lines(tmp_path / "a.jsonl", "")) == [
        (1, '{"a": 1}', {"a": 1}),
        (3, "[2]", [2]),
    ]
