"""A workload of prompts from a file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

from pydantic import Field

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.rows import Row, UserMessage, read_rows
from llmbench.workloads.texts import Tokenized, answer_tokens, shuffled

DEFAULT_TOKENS = 32


class Dataset(Workload):
    """Prompts from a JSONL, JSON, CSV or Parquet file, as a column or as conversations.

    The prompt of a conversation (ShareGPT, or OpenAI messages) is its first user message. The
    output length is `output_tokens`, else that of the recorded answer (`output_column` or the
    conversation's), else 32 tokens. A seed determines the order of prompts.
    """

    class Options(plugins.Options):
        """``{kind: dataset, path: prompts.jsonl, column: prompt, output_tokens: 64}``."""

        path: Path = Field(description="JSONL, JSON, CSV or Parquet file of the prompts")
        column: str = Field(default="prompt", description="column of the prompts")
        output_column: str | None = Field(default=None, description="column of recorded outputs")
        class_column: str | None = Field(default=None, description="column of the request class")
        output_tokens: Lengths | None = Field(
            default=None, description="output length in tokens; if unset, as recorded, else 32"
        )

    options: Options

    def check(self) -> None:
        """Raise InputError when the file cannot be read or a row lacks a prompt or class."""
        for row in self._rows:
            self._message(row)
            self._class(row)

    @property
    def classes(self) -> set[str]:
        """The request classes in the file."""
        return {name for row in self._rows if (name := self._class(row))}

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests with the file's prompts endlessly, in seeded order."""
        rows = [self._request(row, tokenizer) for row in self._rows]
        lengths = self.options.output_tokens or Length(fixed=DEFAULT_TOKENS)
        drawn = lengths.stream(stream(seed, "output lengths"))
        order = shuffled(rows, seed)
        for index, (text, recorded, name), length in zip(count(), order, drawn, strict=False):
            output_tokens = length if self.options.output_tokens else recorded or length
            yield text.request(index, output_tokens, request_class=name)

    def _request(self, row: Row, tokenizer: Tokenizer) -> tuple[Tokenized, int | None, str | None]:
        message = self._message(row)
        recorded = answer_tokens(message.answer, tokenizer)
        return Tokenized.of(row.id, message.text, tokenizer), recorded, self._class(row)

    @cached_property
    def _rows(self) -> list[Row]:
        return read_rows(self.options.path)

    def _message(self, row: Row) -> UserMessage:
        if row.is_conversation:
            return row.conversation()[0]
        column = self.options.output_column
        answer = row.value.get(column) if column and isinstance(row.value, dict) else None
        text = answer if isinstance(answer, str) else None
        return UserMessage(row.text(self.options.column), text)

    def _class(self, row: Row) -> str | None:
        return row.text(self.options.class_column) if self.options.class_column else None
