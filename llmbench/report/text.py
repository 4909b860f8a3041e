"""Frames and tables as plain text and files, for other programs to read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from llmbench.report.table import Table


def as_csv(frame: pd.DataFrame) -> str:
    """Write a frame as CSV: every digit of a float, lists as JSON, nothing for what is missing."""
    flat = frame.apply(lambda column: column.map(_flat) if column.dtype == object else column)
    text: str = flat.to_csv(index=False, lineterminator="\n")
    return text


def _flat(value: Any) -> Any:
    return json.dumps(_listed(value)) if isinstance(value, (list, np.ndarray)) else value


def _listed(value: Any) -> Any:
    """Make a list of an array; a number that is not known is null, which JSON has a word for."""
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f" and np.isnan(value).any():
        return [None if math.isnan(number) else number for number in value.tolist()]
    return value.tolist()


def as_json(frame: pd.DataFrame) -> str:
    """Write a frame as a JSON list of rows; what is missing is null."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return json.dumps(rows, indent=1, ensure_ascii=False, default=_listed)


def as_markdown(table: Table) -> str:
    """Write a table as Markdown, details in brackets and the note below."""
    heads = [column.label for column in table.columns]
    marks = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [
        [f"{cell.text} ({cell.detail})" if cell.detail else cell.text for cell in row]
        for row in table.rows
    ]
    note = f"\n{_escaped(table.note)}\n" if table.note else ""
    return "\n".join(_lines(heads, marks, rows)) + "\n" + note


def frame_as_markdown(frame: pd.DataFrame) -> str:
    """Write a frame as a Markdown table."""
    rows = [
        ["" if _is_missing(value) else str(_flat(value)) for value in row]
        for row in frame.itertuples(index=False)
    ]
    heads = [str(name) for name in frame.columns]
    return "\n".join(_lines(heads, ["---"] * len(heads), rows)) + "\n"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _lines(heads: list[str], marks: list[str], rows: Iterable[list[str]]) -> Iterable[str]:
    for row in (heads, marks, *rows):
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(text: str) -> str:
    """Keep a text from ending its cell or becoming markup."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
