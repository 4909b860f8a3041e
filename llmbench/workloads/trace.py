"""A workload with the prompt and output lengths of a recorded trace."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Request
from llmbench.units import Seconds
from llmbench.workloads.base import Workload
from llmbench.workloads.contents import ContentsOption, Filler
from llmbench.workloads.lengths import Positive
from llmbench.workloads.trace_files import (
    Columns,
    FormatName,
    RecordedTrace,
    TimeUnit,
    TraceRow,
    read_trace,
)


class Trace(Workload):
    """Requests with the prompt and output lengths of a recorded trace, in its order.

    Prompts that share leading blocks in the trace share leading tokens, so that a prefix cache has
    the same hits. Rows without a finite time or without tokens are left out and counted.
    `load: trace` sends requests at the recorded times.
    """

    class Options(plugins.Options):
        """``{kind: trace, path: azure.csv, begin: 10 min, end: 20 min}``."""

        path: Path = Field(description="file of the recorded trace, also gzipped")
        format: FormatName = Field(default="auto", description="trace format; auto detects it")
        columns: Columns | None = Field(
            default=None, description="names of the fields of any other format"
        )
        time_unit: TimeUnit | None = Field(
            default=None, description="unit of numeric times; default: that of the format, else s"
        )
        begin: Seconds = Field(
            default=0.0, ge=0, description="start of the slice, as time since the first request"
        )
        end: Seconds | None = Field(
            default=None, gt=0, description="end of the slice, as time since the first request"
        )
        block_tokens: Positive | None = Field(
            default=None,
            description="tokens per recorded prompt block; default: 16 for bailian, else 512",
        )
        max_prompt_tokens: Positive | None = Field(
            default=None,
            description="maximum prompt length in tokens; longer prompts are truncated",
        )
        max_output_tokens: Positive | None = Field(
            default=None,
            description="maximum output length in tokens; longer outputs are truncated",
        )
        contents: ContentsOption = None

        @model_validator(mode="after")
        def _ends_after_it_begins(self) -> Trace.Options:
            if self.end is not None and self.end <= self.begin:
                raise ValueError("expected `end` after `begin`")
            return self

        @model_validator(mode="after")
        def _has_one_format(self) -> Trace.Options:
            if self.columns and self.format != "auto":
                raise ValueError("`columns` describe a format of their own; remove `format`")
            return self

    options: Options

    @cached_property
    def _recorded(self) -> RecordedTrace:
        options = self.options
        return read_trace(options.path, options.format, options.columns, options.time_unit)

    @cached_property
    def rows(self) -> list[TraceRow]:
        """The trace rows between ``begin`` and ``end``; raise InputError if there are none."""
        rows = self._recorded.rows
        end = np.inf if self.options.end is None else self.options.end
        kept = [row for row in rows if self.options.begin <= row.time < end]
        if not kept:
            raise InputError(
                f"workload: {self.options.path} has no request between `begin` and `end`; it lasts "
                f"{rows[-1].time:.0f} s"
            )
        return kept

    def check(self) -> None:
        """Raise InputError when the file cannot be read or the slice is empty."""
        self.times()

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat if rows of the file are left out."""
        return self._recorded.left_out.caveats()

    @property
    def classes(self) -> set[str]:
        """The request classes in the file."""
        return {row.request_class for row in self.rows if row.request_class}

    def times(self) -> NDArray[np.float64]:
        """Return the arrival times of the requests, in seconds since ``begin``."""
        return np.array([row.time - self.options.begin for row in self.rows], dtype=np.float64)

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield one request per trace row between ``begin`` and ``end``."""
        filler = self.contents.filler(tokenizer, seed, self.options.contents)
        for index, row in enumerate(self.rows):
            length, output_tokens = self._lengths(row)
            shared = self._blocks(row, length, filler)
            rest = filler.prompt(length - len(shared))
            yield Request(
                index,
                (*shared, *rest),
                output_tokens,
                request_class=row.request_class,
                shared=len(shared),
            )

    def sequence_lengths(self, seed: int) -> Iterator[int]:  # noqa: ARG002 (a trace has no draws)
        """Yield the prompt and output tokens of each request."""
        return (sum(self._lengths(row)) for row in self.rows)

    def _lengths(self, row: TraceRow) -> tuple[int, int]:
        return (
            _capped(row.prompt_tokens, self.options.max_prompt_tokens),
            _capped(row.output_tokens, self.options.max_output_tokens),
        )

    def _blocks(self, row: TraceRow, length: int, filler: Filler) -> list[int]:
        """Return the tokens of a row's prompt blocks; blocks of equal id have equal tokens."""
        size = self.options.block_tokens or self._recorded.block_tokens
        return filler.blocks(row.blocks, size, length)


def _capped(length: int, limit: int | None) -> int:
    return length if limit is None else min(length, limit)
