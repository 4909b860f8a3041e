"""Data frames and tables as CSV, JSON, Parquet and Markdown."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd

from llmbench.report.results import Results
from llmbench.report.sections import overview
from llmbench.report.table import Cell, Table, text_columns
from llmbench.runs.run_set import RunSet


def as_csv(frame: pd.DataFrame) -> str:
    """Return a data frame as CSV: floats at full precision, lists as JSON, missing values empty."""
    flat = frame.apply(lambda column: column.map(_flat) if column.dtype == object else column)
    text: str = flat.to_csv(index=False, lineterminator="\n")
    return text


def _flat(value: Any) -> Any:
    return json.dumps(_listed(value)) if isinstance(value, (list, np.ndarray)) else value


def _listed(value: Any) -> Any:
    """Return an array as a list, with null (None) for NaN, which JSON lacks."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f" and np.isnan(value).any():
        return [None if math.isnan(number) else number for number in value.tolist()]
    return value.tolist()


def as_parquet(frame: pd.DataFrame) -> bytes:
    """Return a data frame as the bytes of a Parquet file."""
    packed: bytes = frame.to_parquet(None, index=False)
    return packed


def as_json(frame: pd.DataFrame) -> str:
    """Return a data frame as a JSON list of rows, with null for missing values."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, indent=1, ensure_ascii=False, default=_listed)


def as_markdown(table: Table) -> str:
    """Return a table as Markdown, with details in parentheses and the note below."""
    heads = [column.label for column in table.columns]
    marks = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [
        [f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row]
        for row in table.rows
    ]
    lines = [f"| {' | '.join(map(_escaped, row))} |\n" for row in (heads, marks, *rows)]
    return "".join(lines) + (f"\n{_escaped(table.note)}\n" if table.note else "")


def headline_as_markdown(run_set: RunSet) -> str:
    """Return the results table of a run set as Markdown."""
    return as_markdown(overview.headline(Results(run_set)))


def frame_as_markdown(frame: pd.DataFrame) -> str:
    """Return a data frame as a Markdown table."""
    rows = tuple(
        tuple(Cell("" if _is_missing(value) else str(_flat(value))) for value in row)
        for row in frame.itertuples(index=False)
    )
    return as_markdown(Table("", text_columns(*map(str, frame.columns)), rows))


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _escaped(text: str) -> str:
    """Return a text on one line, with backslashes, ``|`` and ``<`` escaped."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
