"""Rows are the same from any format, and those left out are counted."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.errors import FileError
from llmbench.runs.caveats import Caveat
from llmbench.runs.tables import LeftOut, LeftOutError, Row, parse_table, read_table


def rows(text: str, name: str = "a.jsonl") -> list[tuple[str, Any]]:
    return [(row.where, row.value) for row in parse_table(text.encode(), Path(name)).rows]


def refusal(text: str, name: str) -> str:
    with pytest.raises(FileError) as raised:
        parse_table(text.encode(), Path(name))
    return str(raised.value)


def parquet(**columns: list[Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


# -- formats ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSONL", "a.ndjson", "a.json", "a.txt", "trace"])
def test_json_lines_are_rows(name: str) -> None:
    assert rows('{"a": 1}\n\n{"a": 2}', name) == [(f"{name}:1", {"a": 1}), (f"{name}:3", {"a": 2})]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a"])
def test_the_items_of_an_array_are_rows(name: str) -> None:
    assert rows('[{"a": 1},\n 2]', name) == [(f"{name}[0]", {"a": 1}), (f"{name}[1]", 2)]


def test_a_single_object_over_several_lines_is_a_row() -> None:
    assert rows('{\n "a": 1\n}', "a.json") == [("a.json:1", {"a": 1})]


@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.txt", "trace"])
def test_lines_of_csv_are_rows_of_texts(name: str) -> None:
    assert rows("a,b\n1,x\n2\n", name) == [
        (f"{name}:2", {"a": "1", "b": "x"}),
        (f"{name}:3", {"a": "2", "b": None}),
    ]


@pytest.mark.parametrize("name", ["a.tsv", "a.TSV", "a.csv", "a"])
def test_lines_of_tsv_are_rows(name: str) -> None:
    assert rows("a\tb\n1\tx, y\n", name) == [(f"{name}:2", {"a": "1", "b": "x, y"})]


@pytest.mark.parametrize("name", ["a.parquet", "a.PARQUET", "a"])
def test_parquet_is_read_by_suffix_or_content(name: str) -> None:
    table = parse_table(parquet(a=[1, None]), Path(name))
    assert [(r.where, r.value) for r in table.rows] == [
        (f"{name}:1", {"a": 1}),
        (f"{name}:2", {"a": None}),
    ]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.CSV.GZ", "a.csv"])
def test_gzipped_files_are_rows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"a\n1\n"))
    assert [row.value for row in read_table(tmp_path / name).rows] == [{"a": "1"}]


def test_only_values_of_csv_are_untyped() -> None:
    assert parse_table(b'{"a": 1}', Path("a")).is_typed
    assert not parse_table(b"a\n1", Path("a")).is_typed


# -- line ends and cells ---------------------------------------------------------------------------

SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


def test_other_separators_in_a_json_string_end_no_line() -> None:
    line = f'{{"a": "{SEPARATORS}"}}'
    value = {"a": SEPARATORS}
    assert rows(f"{line}\n{line}") == [("a.jsonl:1", value), ("a.jsonl:2", value)]


def test_other_separators_in_a_cell_end_no_line() -> None:
    assert rows(f"a,b\r\n{SEPARATORS},x\r\n", "a.csv") == [("a.csv:2", {"a": SEPARATORS, "b": "x"})]


def test_a_quoted_cell_may_have_several_lines_and_counts_from_its_first() -> None:
    assert rows('a\n"1\n2"\n\n3\n', "a.csv") == [
        ("a.csv:2", {"a": "1\n2"}),
        ("a.csv:5", {"a": "3"}),
    ]


def test_a_cell_may_be_long() -> None:
    long = "x" * 200_000
    assert rows(f"a,b\n{long},y\n", "a.csv") == [("a.csv:2", {"a": long, "b": "y"})]


def test_spaces_around_the_names_of_columns_are_ignored() -> None:
    assert rows(" a , b\n 1 ,2\n", "a.csv") == [("a.csv:2", {"a": " 1 ", "b": "2"})]


def test_a_header_in_the_middle_is_left_out_and_counted() -> None:
    table = parse_table("a,b\n1,2\na, b\n3,4\n\ufeffa,b\n".encode(), Path("a.csv"))
    assert [row.value["a"] for row in table.rows] == ["1", "3"]
    assert table.left_out.counts == {"with the header repeated": 2}


texts = st.text(
    st.characters(exclude_characters="\0\r\ufeff", exclude_categories=["Cs"]), min_size=1
)


@settings(max_examples=50)
@given(st.lists(st.tuples(texts, texts), min_size=1), st.sampled_from(["a.csv", "a.tsv"]))
def test_any_cells_come_back_as_they_were_written(cells: list[tuple[str, str]], name: str) -> None:
    text = io.StringIO()
    delimiter = "\t" if name == "a.tsv" else ","
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([("one name", "another"), *cells])
    read = [(value["one name"], value["another"]) for _, value in rows(text.getvalue(), name)]
    assert read == cells


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none()), min_size=2))
def test_any_objects_come_back_as_they_were_written(objects: list[Any]) -> None:
    text = "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)
    assert [value for _, value in rows(text)] == objects


# -- malformed files -------------------------------------------------------------------------------


def test_invalid_lines_are_listed_up_to_five() -> None:
    lines = refusal('{"a": 1}\n' + "oops\n" * 7, "a.jsonl").splitlines()
    assert lines[0].startswith("a.jsonl:2: not valid JSON: Expecting value at column 1")
    assert lines[4].startswith("a.jsonl:6: not valid JSON")
    assert lines[5:] == ["and 2 more"]


def test_an_invalid_array_is_an_error_with_its_line() -> None:
    assert refusal('[{"a": 1},\n{"a": }]', "a.json").startswith("a.json:2: not valid JSON")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2,3\n", "a.csv:2: found 3 cells; expected 2, as in the header; quote cells"),
        ('a,b\n1,"2\n3,4\n', "a.csv:2: not valid CSV: unexpected end of data"),
        ("a,b\n1\r2,3\n", "a.csv:2: not valid CSV: a CR without an LF; end lines with"),
        ("a,a\n1,2\n", "a.csv: several columns are named 'a'; rename all but one"),
    ],
)
def test_malformed_csv_is_an_error(text: str, message: str) -> None:
    assert message in refusal(text, "a.csv")


@pytest.mark.parametrize("data", [b"", b"PAR1", b"x" * 100, parquet(a=[1])[:-20]])
def test_damaged_parquet_is_an_error(data: bytes) -> None:
    with pytest.raises(FileError, match=r"a\.parquet: cannot be read as Parquet: "):
        parse_table(data, Path("a.parquet"))


# -- columns and conversion ------------------------------------------------------------------------


def test_a_missing_column_is_an_error_with_the_nearest_one() -> None:
    table = parse_table(b'{"prompts": "x", "b": 1}', Path("a.jsonl"))
    table.require("b", "column")
    with pytest.raises(FileError) as raised:
        table.require("prompt", "column")
    expected = "expected a column 'prompt'; did you mean 'prompts'? set `column`"
    assert str(raised.value) == f"a.jsonl:1: found prompts, b; {expected}"


def number(row: Row) -> int:
    if row.value is None:
        raise LeftOutError("without a number")
    if not isinstance(row.value, int):
        raise FileError(row.where, "found text")
    return row.value


def test_rows_that_cannot_be_used_are_counted() -> None:
    converted = parse_table(b"[1, null, 3, null]", Path("a.json")).convert(number, "numbers")
    assert converted.values == [1, 3]
    assert converted.left_out.caveats() == (
        Caveat("rows-left-out", file="a.json", rows=2, total=4, reasons=["2 without a number"]),
    )


def test_without_rows_left_out_there_is_no_caveat() -> None:
    assert parse_table(b"[1]", Path("a.json")).convert(number, "numbers").left_out.caveats() == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[null, null]", "a.json: no row can be used: 2 without a number; expected numbers"),
        ("[]", "a.json: has no rows; expected numbers"),
        ('[1, null, "x", "y"]', "a.json[2]: found text\na.json[3]: found text"),
    ],
)
def test_malformed_rows_or_none_are_an_error(text: str, message: str) -> None:
    with pytest.raises(FileError) as raised:
        parse_table(text.encode(), Path("a.json")).convert(number, "numbers")
    assert str(raised.value) == message


def test_the_reasons_of_a_caveat_are_bounded() -> None:
    left_out = LeftOut(Path("a"))
    left_out.counts.update(f"with {n}" for n in range(50))
    assert left_out.reasons[4:] == ["1 with 4", "45 for other reasons"]
