"""Tables are read whole, with the right columns, types and values, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_sets import records

from llmbench.errors import InputError
from llmbench.runs.record import Record
from llmbench.runs.run import QUALITY_SCHEMA, RECORD_SCHEMA, records_table
from llmbench.runs.stored_tables import read_quality, read_readings, read_records

Read = Callable[[Path], pa.Table]


def problem(path: Path, table: pa.Table, read: Read = read_records) -> str:
    pq.write_table(table, path)
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: cannot be read as Parquet: ")
    return str(raised.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


TABLE = records_table(records(requests=4))


def with_column(name: str, values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    index = TABLE.schema.get_field_index(name)
    return TABLE.set_column(index, name, pa.array(values, kind or TABLE.schema.field(name).type))


def test_records_are_read_as_they_were_written(path: Path) -> None:
    pq.write_table(TABLE, path)
    assert read_records(path).equals(TABLE)


def test_columns_that_older_versions_lack_are_null(path: Path) -> None:
    pq.write_table(TABLE.drop_columns(["retries", "session"]), path)
    read = read_records(path)
    assert set(read.schema) == set(RECORD_SCHEMA)
    assert read.column_names[-2:] == ["retries", "session"]
    assert read["retries"].null_count == 4


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("due", [0.0, 1.0, None, 3.0], "column 'due' has 1 values that are null"),
        ("due", [0.0, 1.0, float("nan"), 3.0], "column 'due' has values that are not from -1e+09"),
        ("sent", [0.0, 1.0, float("inf"), 3.0], "column 'sent' has values"),
        ("phase", ["measured", "warmup", "x", "measured"], "column 'phase' has other values than"),
        ("finish", ["eos", "length", "", "eos"], "column 'finish' has other values than"),
        ("prompt_tokens", [1, 2, -3, 4], "column 'prompt_tokens' has values that are not from 0"),
        ("output_tokens", [2, 2, 2, 3], "column 'output_tokens' is not the sum"),
        ("token_counts", [[1, 1], [1, 1], [2], [1, 1]], "differ in length"),
        ("token_times", [[1.0, 2.0], [], [1.0, 2.0], [1.0, 2.0]], "differ in length"),
        ("token_times", [[1.0, 2.0], [1.0, float("inf")]] * 2, "has infinite times"),
        ("token_times", [[1.0, 2.0], [1.0, None]] * 2, "has times that are null"),
    ],
)
def test_values_that_no_run_has_are_refused(
    path: Path, name: str, values: list[Any], said: str
) -> None:
    assert said in problem(path, with_column(name, values))


def test_a_request_that_succeeded_has_a_token(path: Path) -> None:
    table = with_column("token_times", [[]] * 4)
    index = table.schema.get_field_index("token_counts")
    table = table.set_column(index, "token_counts", pa.array([[]] * 4, pa.list_(pa.int32())))
    assert "is empty for a request that succeeded" in problem(path, table)


def test_a_missing_column_is_named(path: Path) -> None:
    assert "column 'due' is missing" in problem(path, TABLE.drop_columns(["due"]))


def test_a_column_of_another_type_is_refused(path: Path) -> None:
    problem(path, with_column("due", ["a", "b", "c", "d"], pa.string()))
    problem(path, with_column("request_id", [0.5, 1.5, 2.5, 3.5], pa.float64()))


def test_text_that_is_not_utf_8_is_refused(path: Path) -> None:
    broken = pa.array([b"\xff\xfe"] * 4, pa.binary()).cast(pa.string(), safe=False)
    index = TABLE.schema.get_field_index("error_message")
    problem(path, TABLE.set_column(index, "error_message", broken))


@pytest.mark.parametrize("keep", [0, 3, 200, -1])
def test_a_truncated_file_is_refused(path: Path, keep: int) -> None:
    pq.write_table(TABLE, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"table\.parquet: cannot be read as Parquet"):
        read_records(path)


def test_a_folder_or_nothing_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="cannot be read: "):
            read_records(path)


def test_tables_of_other_kinds_are_refused(path: Path) -> None:
    assert "column 'nll' is missing" in problem(path, TABLE, read_quality)
    assert "column 'name' is missing" in problem(path, TABLE, read_readings)
    assert "column 'request_id' is missing" in problem(path, QUALITY_SCHEMA.empty_table())


def test_readings_have_finite_times_and_values(path: Path) -> None:
    table = pa.table({"name": ["a"], "time": [0.0], "value": [float("nan")]})
    assert "column 'value' has values" in problem(path, table, read_readings)


def test_an_empty_table_is_read(path: Path) -> None:
    pq.write_table(RECORD_SCHEMA.empty_table(), path)
    assert read_records(path).num_rows == 0


def test_an_abandoned_request_may_have_no_token(path: Path) -> None:
    gone = Record(0, "measured", 0.0, 0.0, None, (), (), 4, 2, "abandoned", abandoned_at=2.0)
    table = records_table([gone])
    pq.write_table(table, path)
    assert read_records(path).equals(table)
