"""A workload of prompts from a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Constraint, ConstraintKind, Expected, Message, Request
from llmbench.runs.tables import Converted, LeftOutError, Row, Table, read_table
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.constraints import constraint_of, expected_of
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.rows import (
    CONVERSATIONS,
    RecordedTurn,
    conversation,
    length_of,
    messages_in,
    name_of,
    text_of,
)
from llmbench.workloads.texts import Tokenized, answer_tokens, shuffled

DEFAULT_TOKENS = 32
LENGTH = re.compile(r"\d+(\.0*)?")

Fields = dict[str, Any]  # of a request


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt of a file; ``answer`` is the recorded answer, or its length in tokens."""

    id: str
    turn: RecordedTurn
    answer: str | int | None
    request_class: str | None
    constraint: Constraint | None = None
    expected: Expected | None = None

    def tokenized(self, tokenizer: Tokenizer) -> Tokenized:
        return Tokenized.of(self.id, self.turn.text, tokenizer, self.turn.messages)

    @property
    def fields(self) -> Fields:
        """The fields of the request that do not depend on a tokenizer."""
        return {
            "request_class": self.request_class,
            "constraint": self.constraint,
            "expected": self.expected,
        }

    def output_tokens(self, tokenizer: Tokenizer) -> int | None:
        if isinstance(self.answer, int):
            return self.answer
        return answer_tokens(self.answer, tokenizer)


class Dataset(Workload):
    """Prompts from a JSON Lines, JSON, CSV, TSV or Parquet file, as a column or as conversations.

    The prompt of a conversation (ShareGPT, or OpenAI messages) is all that comes before its first
    answer; a `column` that is set takes precedence. The output length is `output_tokens`, else that
    of the recorded answer (`output_column` or the conversation's), else 32 tokens. Rows without a
    prompt are left out and counted. A seed determines the order of prompts. Rows may constrain
    their answers by OpenAI's `response_format`, or `tools` and `tool_choice`.
    """

    class Options(plugins.Options):
        """``{kind: dataset, path: prompts.jsonl, column: prompt, output_tokens: 64}``."""

        path: Path = Field(description="JSONL, JSON, CSV, TSV or Parquet file, also gzipped")
        column: str = Field(default="prompt", description="column of the prompts")
        output_column: str | None = Field(
            default=None, description="column of recorded outputs, or of their lengths in tokens"
        )
        class_column: str | None = Field(default=None, description="column of the request class")
        output_tokens: Lengths | None = Field(
            default=None, description="output length in tokens; if unset, as recorded, else 32"
        )
        constrain: Literal["always", "never", "both"] = Field(
            default="always",
            description="send the `response_format` or `tools` of rows always, never, or in one of"
            " two requests (both)",
        )
        answer_column: str | None = Field(
            default=None,
            description="column of the right answers, which `quality.under_load` grades: numbers,"
            " choices or regular expressions",
        )

    options: Options

    def check(self) -> None:
        """Raise InputError when the file cannot be read or has no prompts, or lacks a column."""
        _ = self._prompts

    @property
    def classes(self) -> set[str]:
        """The request classes in the file."""
        return {prompt.request_class for prompt in self._prompts.values if prompt.request_class}

    @property
    def constraints(self) -> set[ConstraintKind]:
        """The kinds of forms that the file asks of answers; empty with `constrain: never`."""
        return {prompt.constraint.kind for prompt in self._prompts.values if prompt.constraint}

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat if rows of the file are left out."""
        return self._prompts.left_out.caveats()

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests with the file's prompts endlessly, in seeded order."""
        lengths = self.options.output_tokens or Length(fixed=DEFAULT_TOKENS)
        drawn = lengths.stream(stream(seed, "output lengths"))
        order = shuffled([*self._variants(tokenizer)], seed)
        for index, (text, recorded, fields), length in zip(count(), order, drawn, strict=False):
            output_tokens = length if self.options.output_tokens else recorded or length
            yield text.request(index, output_tokens, **fields)

    def _variants(self, tokenizer: Tokenizer) -> Iterator[tuple[Tokenized, int | None, Fields]]:
        """Yield each prompt with its recorded length and the fields of its request.

        A prompt that is sent with and without its constraint comes twice.
        """
        for prompt in self._prompts.values:
            text, length = prompt.tokenized(tokenizer), prompt.output_tokens(tokenizer)
            yield text, length, prompt.fields
            if prompt.constraint and self.options.constrain == "both":
                yield text, length, {**prompt.fields, "constraint": None}

    @cached_property
    def _prompts(self) -> Converted[_Prompt]:
        return read_prompts(read_table(self.options.path), self.options)


def read_prompts(table: Table, options: Dataset.Options) -> Converted[_Prompt]:
    """Return the prompts in the rows of a table; raise FileError if there are none."""
    if all(messages_in(row) is None for row in table.rows):
        table.require(options.column, "column")
    for column, option in (
        (options.output_column, "output_column"),
        (options.class_column, "class_column"),
        (options.answer_column, "answer_column"),
    ):
        if column:
            table.require(column, option)
    reader = _Reader(options, has_lengths=_holds_lengths(table, options.output_column))
    return table.convert(reader.prompt, "rows with prompts")


def _holds_lengths(table: Table, column: str | None) -> bool:
    """Return whether a column of a CSV file, whose values have no types, is all whole numbers."""
    if table.is_typed or column is None:
        return False
    cells = ((row.fields[column] or "").strip() for row in table.rows)
    return all(LENGTH.fullmatch(cell) for cell in cells if cell)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads prompts of rows; ``has_lengths``: the outputs are numbers of tokens written as text."""

    options: Dataset.Options
    has_lengths: bool

    def prompt(self, row: Row) -> _Prompt:
        """Return the prompt in a row; raises LeftOutError for a row that cannot be used."""
        options, turn = self.options, self._turn(row)
        has_output = options.output_column and options.output_tokens is None
        name = options.class_column
        return _Prompt(
            id=row.where.rsplit("/", 1)[-1],
            turn=turn,
            answer=self._answer(row) if has_output else turn.answer,
            request_class=name_of(row, name, "a class") if name else None,
            constraint=None if options.constrain == "never" else constraint_of(row),
            expected=expected_of(row, options.answer_column) if options.answer_column else None,
        )

    def _turn(self, row: Row) -> RecordedTurn:
        column = self.options.column
        is_chosen = "column" in self.options.model_fields_set and column in row.fields
        columns = (column,) if is_chosen else (*CONVERSATIONS, column)
        if messages_in(row, columns) is not None:
            return conversation(row, columns)[0]
        return RecordedTurn((Message("user", text_of(row, column, "a prompt")),))

    def _answer(self, row: Row) -> str | int:
        column = str(self.options.output_column)
        value = row.fields.get(column)
        if isinstance(value, bool):
            raise LeftOutError("with an output that is not text")
        if isinstance(value, int | float):
            return length_of(value)
        text = text_of(row, column, "an output")
        return length_of(float(text)) if self.has_lengths else text
