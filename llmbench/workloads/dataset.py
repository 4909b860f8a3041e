"""Prompts from a file of one's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.request import Request
from llmbench.streams import stream
from llmbench.workloads.base import Tokenizer
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.texts import Tokenised, shuffled

__all__ = ["Dataset"]

USUAL_TOKENS = 32


class Dataset:
    """Prompts from a JSONL, JSON, CSV or Parquet file with a column of them, or from ShareGPT.

    Of ShareGPT's conversations the first thing said is the prompt. Answers are as long as
    `output_tokens` says, else as the recorded ones (`output_column`; ShareGPT's answer), else 32.
    Prompts come in a seeded order.
    """

    class Options(plugins.Options):
        """``{kind: dataset, path: prompts.jsonl, column: prompt, output_tokens: 64}``."""

        path: Path
        column: str = Field(default="prompt", description="with the prompts")
        output_column: str | None = Field(default=None, description="with recorded answers")
        output_tokens: Lengths | None = None

    def __init__(self, options: Options) -> None:
        self.options = options

    def check(self) -> None:
        """Raise InputError when the file cannot be read."""
        self._rows()

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield the tokenised prompts, without end."""
        pairs = [
            (Tokenised.of(row.id, row.prompt, tokenizer), _tokens(row.answer, tokenizer))
            for row in self._rows()
        ]
        asked = self.options.output_tokens
        drawn = (asked or Length(fixed=USUAL_TOKENS)).stream(stream(seed, "output lengths"))
        order = shuffled(pairs, seed)
        for number, (text, recorded), length in zip(count(), order, drawn, strict=False):
            yield text.request(number, length if asked else recorded or length)

    def _rows(self) -> list[_Row]:
        path = self.options.path.expanduser()
        try:
            rows = [self._row(where, found) for where, found in _read(path)]
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        except ValueError as error:
            raise InputError(f"{path}: cannot be read: {error}") from None
        if not rows:
            raise InputError(f"{path}: holds no prompts")
        return rows

    def _row(self, where: str, found: Any) -> _Row:
        if isinstance(found, dict) and "conversations" in found:
            return _Row.of(where, *_said_first(where, found["conversations"]))
        if not isinstance(found, dict) or self.options.column not in found:
            held = f"holds {', '.join(map(str, found))}" if isinstance(found, dict) else "is no row"
            raise InputError(f"{where}: {held}; expected a column {self.options.column!r}")
        answer = found.get(self.options.output_column) if self.options.output_column else None
        return _Row.of(where, found[self.options.column], answer)


@dataclass(frozen=True, slots=True)
class _Row:
    id: str
    prompt: str
    answer: str | None

    @classmethod
    def of(cls, where: str, prompt: Any, answer: Any) -> _Row:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InputError(f"{where}: has no prompt (found {prompt!r}); expected a text")
        return cls(where.rsplit("/", 1)[-1], prompt, answer if isinstance(answer, str) else None)


def _read(path: Path) -> Iterator[tuple[str, Any]]:
    """Give every row with the file and line, or place, that it stands at."""
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


def _said_first(where: str, turns: Any) -> tuple[Any, Any]:
    """Give the first thing that a person said, and the answer to it."""
    try:
        said = [(turn["from"], turn["value"]) for turn in turns]
    except (TypeError, KeyError):
        raise InputError(f"{where}: conversations are no list of `from` and `value`") from None
    place = next((n for n, (who, _) in enumerate(said) if who in ("human", "user")), None)
    if place is None:
        raise InputError(f"{where}: nobody asks anything in this conversation")
    return said[place][1], said[place + 1][1] if place + 1 < len(said) else None


def _tokens(answer: str | None, tokenizer: Tokenizer) -> int | None:
    return None if answer is None else max(1, len(tokenizer.encode(answer)))
