"""Rows of JSONL, JSON, CSV or Parquet files, each with its location."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llmbench.errors import InputError

CONVERSATIONS = ("conversations", "messages")  # ShareGPT, OpenAI
USERS = ("human", "user")


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A user message, with its recorded answer if there is one."""

    text: str
    answer: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a prompt file; ``where`` is its location: the file with the line or index."""

    where: str
    value: Any

    @property
    def id(self) -> str:
        """The row's location without the folder, used as prompt id."""
        return self.where.rsplit("/", 1)[-1]

    @property
    def is_conversation(self) -> bool:
        """Whether the row has the key of a ShareGPT or OpenAI conversation."""
        return isinstance(self.value, dict) and any(key in self.value for key in CONVERSATIONS)

    def conversation(self) -> list[UserMessage]:
        """Return the user messages of a conversation; raise InputError if there are none."""
        if not self.is_conversation:
            raise InputError(
                f"{self.where}: {self._content}; expected {' or '.join(CONVERSATIONS)}"
            )
        turns = self._turns()
        answers = {i - 1: text for i, (role, text) in enumerate(turns) if role not in USERS}
        messages = [
            UserMessage(self._text(text), answers.get(index))
            for index, (role, text) in enumerate(turns)
            if role in USERS
        ]
        if not messages:
            raise InputError(f"{self.where}: the conversation has no user message")
        return messages

    def _turns(self) -> list[tuple[Any, Any]]:
        key = next(key for key in CONVERSATIONS if key in self.value)
        role, text = ("from", "value") if key == "conversations" else ("role", "content")
        try:
            return [(turn[role], turn[text]) for turn in self.value[key]]
        except (TypeError, KeyError):
            raise InputError(
                f"{self.where}: expected {key} to be a list of objects with `{role}` and `{text}`"
            ) from None

    def text(self, column: str) -> str:
        """Return the text of a column; raise InputError if the column or text is missing."""
        if not isinstance(self.value, dict) or column not in self.value:
            raise InputError(f"{self.where}: {self._content}; expected a column {column!r}")
        return self._text(self.value[column])

    @property
    def _content(self) -> str:
        is_row = isinstance(self.value, dict)
        return f"found {', '.join(map(str, self.value))}" if is_row else f"found {self.value!r}"

    def _text(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{self.where}: found {value!r}; expected prompt text")
        return value


def read_rows(path: Path) -> list[Row]:
    """Return all rows of a file; raise InputError if it is unreadable or empty."""
    path = path.expanduser()
    try:
        rows = [Row(where, value) for where, value in _located_rows(path)]
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"{path}: cannot be read: {why}; check the path") from None
    except ValueError as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    if not rows:
        raise InputError(f"{path}: has no rows; expected prompts")
    return rows


def _located_rows(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        rows = enumerate(pq.read_table(path).to_pylist(), start=1)
        yield from ((f"{path}:{number}", row) for number, row in rows)
        return
    text = path.read_text("utf-8-sig")
    if path.suffix == ".csv":
        reader = csv.DictReader(text.splitlines(keepends=True))
        yield from ((f"{path}:{reader.line_num}", row) for row in reader)
    elif text.lstrip().startswith("["):
        yield from ((f"{path}[{index}]", row) for index, row in enumerate(json.loads(text)))
    else:
        numbered = enumerate(text.splitlines(), start=1)
        yield from ((f"{path}:{n}", _json(f"{path}:{n}", line)) for n, line in numbered if line)


def _json(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(
            f"{where}: not valid JSON: {error}; expected one object per line"
        ) from None
