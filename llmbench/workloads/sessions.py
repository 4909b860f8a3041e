"""Conversations of several turns, each of which carries all that was said before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.runs.request import Request, Turn
from llmbench.scenario.rng import stream
from llmbench.units import Seconds
from llmbench.workloads.base import Tokenizer, Workload
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.random_ids import RandomIds
from llmbench.workloads.rows import Said, read_rows
from llmbench.workloads.texts import answer_tokens, shuffled

USUAL_TURNS, USUAL_PROMPT, USUAL_ANSWER = (Length(fixed=n) for n in (4, 64, 32))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is said in one turn, and how long its answer is to be."""

    prompt: tuple[int, ...]
    output_tokens: int
    text: str | None = None


class Sessions(Workload):
    """Chats of several turns, whose history grows by the answers that really came.

    The load's arrivals are those of sessions; a turn falls due when the answer before it has come
    and been thought about (exponential think times). `requests` counts turns, and a session ends
    with a turn that fails. Contents are random ids, or what people said in recorded conversations
    (a file of ShareGPT's, or of OpenAI's messages).
    """

    class Options(plugins.Options):
        """``{kind: sessions, turns: {uniform: [2, 6]}, prompt_tokens: 64, think_time: 5 s}``."""

        turns: Lengths | None = Field(
            default=None, description="of a session; 4, or as recorded, if unset"
        )
        prompt_tokens: Lengths | None = Field(
            default=None, description="that each turn adds; 64, or as recorded, if unset"
        )
        output_tokens: Lengths | None = Field(
            default=None, description="of each answer; 32, or as recorded, if unset"
        )
        system_tokens: int = Field(default=0, ge=0, description="ahead of every session, the same")
        think_time: Seconds = Field(default=0.0, ge=0, description="mean pause before a next turn")
        path: Path | None = Field(default=None, description="of recorded conversations")

        @model_validator(mode="after")
        def _says_each_thing_once(self) -> Sessions.Options:
            if self.path and (self.prompt_tokens or self.system_tokens):
                raise ValueError(
                    "prompts are the file's where there is a `path`; leave `prompt_tokens` and "
                    "`system_tokens` out"
                )
            return self

    options: Options

    def check(self) -> None:
        """Raise InputError when the file cannot be read."""
        self._source(0)

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield the first turn of each session, with those that follow it, without end."""
        pauses = stream(seed, "think times")
        sessions = self._source(seed).sessions(tokenizer)
        for number, (first, *later) in zip(count(), sessions, strict=False):
            turns = tuple(
                Turn(each.prompt, each.output_tokens, self._pause(pauses), each.text)
                for each in later
            )
            yield Request(number, first.prompt, first.output_tokens, text=first.text, turns=turns)

    def _pause(self, draws: np.random.Generator) -> float:
        return -self.options.think_time * float(np.log1p(-draws.random()))

    def _source(self, seed: int) -> _Random | _Recorded:
        if self.options.path is None:
            return _Random(self.options, seed)
        conversations = [row.conversation() for row in read_rows(self.options.path)]
        return _Recorded(self.options, seed, conversations)


@dataclass(frozen=True, slots=True)
class _Random:
    """Sessions of random ids."""

    options: Sessions.Options
    seed: int

    def sessions(self, tokenizer: Tokenizer) -> Iterator[list[_Asked]]:
        options, seed = self.options, self.seed
        ids = RandomIds(tokenizer.vocab_size, seed)
        prompts = (options.prompt_tokens or USUAL_PROMPT).stream(stream(seed, "prompt lengths"))
        outputs = (options.output_tokens or USUAL_ANSWER).stream(stream(seed, "output lengths"))
        for turns in (options.turns or USUAL_TURNS).stream(stream(seed, "turns")):
            ahead = [options.system_tokens, *[0] * (turns - 1)]
            yield [_Asked(ids.prompt(a + next(prompts), a), next(outputs)) for a in ahead]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Sessions in which is asked what was asked in recorded ones."""

    options: Sessions.Options
    seed: int
    conversations: Sequence[list[Said]]

    def sessions(self, tokenizer: Tokenizer) -> Iterator[list[_Asked]]:
        options, seed = self.options, self.seed
        longest = Length(fixed=max(map(len, self.conversations)))
        turns = (options.turns or longest).stream(stream(seed, "turns"))
        outputs = (options.output_tokens or USUAL_ANSWER).stream(stream(seed, "output lengths"))
        for said, most in zip(shuffled(self.conversations, seed), turns, strict=False):
            yield [
                self._asked(place, each, next(outputs), tokenizer)
                for place, each in enumerate(said[:most])
            ]

    def _asked(self, place: int, said: Said, drawn: int, tokenizer: Tokenizer) -> _Asked:
        """Tokenize what was said; special tokens come before the first turn alone."""
        ids = tokenizer.encode_more(said.text) if place else tokenizer.encode(said.text)
        recorded = None if self.options.output_tokens else answer_tokens(said.answer, tokenizer)
        return _Asked(tuple(ids), recorded or drawn, said.text)
