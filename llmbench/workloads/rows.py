"""Rows of files: JSONL, JSON, CSV or Parquet, each with the place it stands at."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llmbench.errors import InputError

CONVERSATIONS = ("conversations", "messages")  # ShareGPT's, and OpenAI's
PEOPLE = ("human", "user")


@dataclass(frozen=True, slots=True)
class Said:
    """What a person said, and what was answered, where that is known."""

    text: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a file; ``where`` names the file and the line, or place, that it stands at."""

    where: str
    found: Any

    @property
    def id(self) -> str:
        """The place without the folder."""
        return self.where.rsplit("/", 1)[-1]

    @property
    def is_conversation(self) -> bool:
        """Whether it holds a conversation."""
        return isinstance(self.found, dict) and any(key in self.found for key in CONVERSATIONS)

    def conversation(self) -> list[Said]:
        """Give what people said in a conversation; raises InputError where nobody says anything."""
        if not self.is_conversation:
            raise InputError(f"{self.where}: {self._held}; expected {' or '.join(CONVERSATIONS)}")
        said = self._said()
        answers = {place - 1: text for place, (who, text) in enumerate(said) if who not in PEOPLE}
        asked = [
            Said(self._text(text), answers.get(place))
            for place, (who, text) in enumerate(said)
            if who in PEOPLE
        ]
        if not asked:
            raise InputError(f"{self.where}: nobody asks anything in this conversation")
        return asked

    def _said(self) -> list[tuple[Any, Any]]:
        key = next(key for key in CONVERSATIONS if key in self.found)
        who, what = ("from", "value") if key == "conversations" else ("role", "content")
        try:
            return [(turn[who], turn[what]) for turn in self.found[key]]
        except (TypeError, KeyError):
            raise InputError(
                f"{self.where}: {key} are no list of `{who}` and `{what}`; mend the line"
            ) from None

    def text(self, column: str) -> str:
        """Give the text of a column; raises InputError where there is none."""
        if not isinstance(self.found, dict) or column not in self.found:
            raise InputError(f"{self.where}: {self._held}; expected a column {column!r}")
        return self._text(self.found[column])

    @property
    def _held(self) -> str:
        is_row = isinstance(self.found, dict)
        return f"holds {', '.join(map(str, self.found))}" if is_row else "is no row"

    def _text(self, found: Any) -> str:
        if not isinstance(found, str) or not found.strip():
            raise InputError(f"{self.where}: has no prompt (found {found!r}); expected a text")
        return found


def read_rows(path: Path) -> list[Row]:
    """Read all rows of a file; raises InputError when it cannot be read or has none."""
    path = path.expanduser()
    try:
        rows = [Row(where, found) for where, found in _read(path)]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise InputError(f"{path}: holds no prompts")
    return rows


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        rows = enumerate(pq.read_table(path).to_pylist(), start=1)
        yield from ((f"{path}:{number}", row) for number, row in rows)
        return
    text = path.read_text("utf-8-sig")
    if path.suffix == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True))
        yield from ((f"{path}:{reader.line_num}", row) for row in reader)
    elif text.lstrip().startswith("["):
        yield from ((f"{path}[{place}]", row) for place, row in enumerate(json.loads(text)))
    else:
        numbered = enumerate(text.splitlines(), start=1)
        yield from ((f"{path}:{n}", _json(f"{path}:{n}", line)) for n, line in numbered if line)


def _json(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: is no JSON: {error}; expected one object a line") from None
