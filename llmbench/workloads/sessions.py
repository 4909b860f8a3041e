"""Multi-turn conversations, in which each turn includes the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import FileError
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Message, Request, Turn
from llmbench.runs.tables import Converted, Table, read_table
from llmbench.scenario.rng import stream
from llmbench.units import Seconds
from llmbench.workloads.base import Workload
from llmbench.workloads.contents import Contents, ContentsOption
from llmbench.workloads.lengths import LONGEST, Length, Lengths
from llmbench.workloads.rows import CONVERSATIONS, RecordedTurn, conversation, messages_in
from llmbench.workloads.texts import answer_tokens, shuffled

DEFAULT_TURNS, DEFAULT_PROMPT, DEFAULT_ANSWER = (Length(fixed=n) for n in (4, 64, 32))


@dataclass(frozen=True, slots=True)
class _UserTurn:
    """The prompt of one turn, and the number of tokens to generate."""

    prompt: tuple[int, ...]
    output_tokens: int
    text: str | None = None
    messages: tuple[Message, ...] = ()


class Sessions(Workload):
    """Multi-turn chats, whose history includes the backend's responses.

    The load's arrivals are those of sessions; a turn is due one (exponential) think time after the
    previous response. `requests` counts turns, and a turn that fails ends its session. Prompts are
    made to lengths, or those of recorded conversations (ShareGPT or OpenAI messages), with their
    system and tool messages.
    """

    class Options(plugins.Options):
        """``{kind: sessions, turns: {uniform: [2, 6]}, prompt_tokens: 64, think_time: 5 s}``."""

        turns: Lengths | None = Field(
            default=None, description="turns per session; if unset, as recorded with `path`, else 4"
        )
        prompt_tokens: Lengths | None = Field(
            default=None, description="prompt tokens added per turn; if unset, as recorded, else 64"
        )
        output_tokens: Lengths | None = Field(
            default=None, description="output tokens per turn; if unset, as recorded, else 32"
        )
        system_tokens: int = Field(
            default=0,
            ge=0,
            le=LONGEST,
            description="tokens in a system prompt shared by all sessions",
        )
        think_time: Seconds = Field(
            default=0.0, ge=0, description="mean pause between a response and the next turn"
        )
        contents: ContentsOption = None
        path: Path | None = Field(default=None, description="file of recorded conversations")

        @model_validator(mode="after")
        def _has_one_source_of_prompts(self) -> Sessions.Options:
            if self.path and (self.prompt_tokens or self.system_tokens or self.contents):
                raise ValueError(
                    "`path` provides the prompts; remove `prompt_tokens`, `system_tokens` and "
                    "`contents`"
                )
            return self

    options: Options

    def check(self) -> None:
        """Raise InputError when the file of conversations cannot be read."""
        self._source(0)

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat if rows of the file are left out."""
        return self._recorded.left_out.caveats() if self.options.path else ()

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield each session's first request, which contains the later turns, endlessly."""
        pauses = stream(seed, "think times")
        sessions = self._source(seed).sessions(tokenizer)
        for index, (first, *later) in zip(count(), sessions, strict=False):
            turns = tuple(
                Turn(turn.prompt, turn.output_tokens, self._pause(pauses), turn.text, turn.messages)
                for turn in later
            )
            yield Request(
                index,
                first.prompt,
                first.output_tokens,
                text=first.text,
                messages=first.messages,
                shared=self.options.system_tokens,
                turns=turns,
            )

    def sequence_lengths(self, seed: int) -> Iterator[int]:
        """Yield the tokens of each session with all its turns; none of recorded conversations."""
        if self.options.path is not None:
            return iter(())
        sessions = _Random(self.options, seed, self.contents).lengths()
        return (sum(map(sum, turns)) for turns in sessions)

    def _pause(self, rng: np.random.Generator) -> float:
        return -self.options.think_time * float(np.log1p(-rng.random()))

    def _source(self, seed: int) -> _Random | _Recorded:
        if self.options.path is None:
            return _Random(self.options, seed, self.contents)
        return _Recorded(self.options, seed, self._recorded.values)

    @cached_property
    def _recorded(self) -> Converted[list[RecordedTurn]]:
        assert self.options.path is not None  # noqa: S101 (for type checkers)
        return read_conversations(read_table(self.options.path))


def read_conversations(table: Table) -> Converted[list[RecordedTurn]]:
    """Return the conversations in the rows of a table; raise FileError if there are none."""
    if table.rows and all(messages_in(row) is None for row in table.rows):
        first = table.rows[0]
        raise FileError(first.where, f"found {first.columns}", ", ".join(CONVERSATIONS))
    return table.convert(conversation, "conversations")


@dataclass(frozen=True, slots=True)
class _Random:
    """Sessions whose prompts are only lengths."""

    options: Sessions.Options
    seed: int
    contents: Contents

    def sessions(self, tokenizer: Tokenizer) -> Iterator[list[_UserTurn]]:
        filler = self.contents.filler(tokenizer, self.seed, self.options.contents)
        for turns in self.lengths():
            yield [_UserTurn(filler.prompt(n + new, n), answer) for n, new, answer in turns]

    def lengths(self) -> Iterator[list[tuple[int, int, int]]]:
        """Yield the system, prompt and output tokens that each turn of a session adds."""
        options, seed = self.options, self.seed
        prompts = (options.prompt_tokens or DEFAULT_PROMPT).stream(stream(seed, "prompt lengths"))
        outputs = (options.output_tokens or DEFAULT_ANSWER).stream(stream(seed, "output lengths"))
        for turns in (options.turns or DEFAULT_TURNS).stream(stream(seed, "turns")):
            system = [options.system_tokens, *[0] * (turns - 1)]
            yield [(n, next(prompts), next(outputs)) for n in system]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Sessions with the prompts of recorded conversations."""

    options: Sessions.Options
    seed: int
    conversations: Sequence[list[RecordedTurn]]

    def sessions(self, tokenizer: Tokenizer) -> Iterator[list[_UserTurn]]:
        options, seed = self.options, self.seed
        longest = Length(fixed=max(map(len, self.conversations)))
        turns = (options.turns or longest).stream(stream(seed, "turns"))
        outputs = (options.output_tokens or DEFAULT_ANSWER).stream(stream(seed, "output lengths"))
        for recorded, limit in zip(shuffled(self.conversations, seed), turns, strict=False):
            yield [
                self._turn(index, turn, next(outputs), tokenizer)
                for index, turn in enumerate(recorded[:limit])
            ]

    def _turn(self, index: int, turn: RecordedTurn, drawn: int, tokenizer: Tokenizer) -> _UserTurn:
        """Return a tokenized turn; only the first turn of a session has special tokens."""
        ids = tokenizer.encode_more(turn.text) if index else tokenizer.encode(turn.text)
        recorded = None if self.options.output_tokens else answer_tokens(turn.answer, tokenizer)
        return _UserTurn(tuple(ids), recorded or drawn, turn.text, turn.messages)
