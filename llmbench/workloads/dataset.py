"""Prompts from a file of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

from pydantic import Field

from llmbench import plugins
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Tokenizer, Workload
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.rows import Row, Said, read_rows
from llmbench.workloads.texts import Tokenized, answer_tokens, shuffled

USUAL_TOKENS = 32


class Dataset(Workload):
    """Prompts from a JSONL, JSON, CSV or Parquet file with a column of them, or of conversations.

    Of conversations (ShareGPT's, or OpenAI's messages) the first thing said is the prompt. Answers
    are as long as `output_tokens` says, else as the recorded ones (`output_column`; the
    conversation's answer), else 32. Prompts come in a seeded order.
    """

    class Options(plugins.Options):
        """``{kind: dataset, path: prompts.jsonl, column: prompt, output_tokens: 64}``."""

        path: Path = Field(description="a JSONL, JSON, CSV or Parquet file")
        column: str = Field(default="prompt", description="with the prompts")
        output_column: str | None = Field(default=None, description="with recorded answers")
        class_column: str | None = Field(default=None, description="with classes of requests")
        output_tokens: Lengths | None = Field(
            default=None, description="of each answer; as recorded, or 32, if unset"
        )

    options: Options

    def check(self) -> None:
        """Raise InputError when the file cannot be read."""
        for row in self._rows:
            self._said(row)
            self._class(row)

    @property
    def classes(self) -> set[str]:
        """The classes of requests that the file has."""
        return {found for row in self._rows if (found := self._class(row))}

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield the tokenized prompts, without end."""
        rows = [self._request(row, tokenizer) for row in self._rows]
        asked = self.options.output_tokens
        drawn = (asked or Length(fixed=USUAL_TOKENS)).stream(stream(seed, "output lengths"))
        order = shuffled(rows, seed)
        for number, (text, recorded, kind), length in zip(count(), order, drawn, strict=False):
            outputs = length if asked else recorded or length
            yield text.request(number, outputs, request_class=kind)

    def _request(self, row: Row, tokenizer: Tokenizer) -> tuple[Tokenized, int | None, str | None]:
        said = self._said(row)
        recorded = answer_tokens(said.answer, tokenizer)
        return Tokenized.of(row.id, said.text, tokenizer), recorded, self._class(row)

    @cached_property
    def _rows(self) -> list[Row]:
        return read_rows(self.options.path)

    def _said(self, row: Row) -> Said:
        if row.is_conversation:
            return row.conversation()[0]
        column = self.options.output_column
        answer = row.found.get(column) if column and isinstance(row.found, dict) else None
        return Said(row.text(self.options.column), answer if isinstance(answer, str) else None)

    def _class(self, row: Row) -> str | None:
        return row.text(self.options.class_column) if self.options.class_column else None
