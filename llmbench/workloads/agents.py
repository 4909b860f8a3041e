"""A workload of agents' jobs: requests that wait for others, with the delays of tools between."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Request, Turn
from llmbench.runs.tables import read_table
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Share
from llmbench.units import Seconds
from llmbench.workloads import jobs, spans
from llmbench.workloads.base import Workload
from llmbench.workloads.contents import ContentsOption, Filler
from llmbench.workloads.jobs import Job, JobFormat, RecordedJobs, Step
from llmbench.workloads.lengths import LONGEST, Length, Lengths, Positive
from llmbench.workloads.texts import answer_tokens

READERS = {"messages": jobs.from_messages, "mooncake": jobs.from_sessions, "otel": spans.from_spans}
GENERATED = (
    "turns", "prompt_tokens", "tool_tokens", "output_tokens", "system_tokens", "tool_delay",
    "fan_out", "fan_out_share",
)  # fmt: skip
OF_FILES = ("format", "delay_scale", "block_tokens")
MAIN, SUBAGENT = 0, 1  # groups of prompts that share a system prompt


class Agents(Workload):
    """Jobs of agents, whose requests wait for others and for the tools between them.

    The load's arrivals are those of jobs; a request is due when all that it waits for are answered,
    plus the delay of its tools. A job is complete when all its requests are answered, and a request
    that fails ends it. Jobs are recorded, as OpenTelemetry's spans, sessions of Mooncake's form or
    OpenAI's messages, or generated: a loop of turns that each add a tool's result to the
    conversation or, at a fan-out, the results of several subagents, which run in parallel.
    """

    class Options(plugins.Options):
        """``{kind: agents, turns: {uniform: [2, 6]}, fan_out: 3, tool_delay: 1 s}``."""

        path: Path | None = Field(default=None, description="file of recorded jobs, also gzipped")
        format: JobFormat = Field(
            default="auto", description="form of the recorded jobs; auto detects it"
        )
        delay_scale: float = Field(
            default=1.0, ge=0, le=1000, description="factor of recorded delays; 0: no delays"
        )
        block_tokens: Positive = Field(
            default=512, description="tokens per recorded prompt block (hash id)"
        )
        turns: Lengths = Field(
            default=Length(fixed=4), description="turns of the agent that begins the job"
        )
        prompt_tokens: Lengths = Field(
            default=Length(fixed=128), description="tokens of the task of an agent or subagent"
        )
        tool_tokens: Lengths = Field(
            default=Length(fixed=64), description="tokens of results that each later turn adds"
        )
        output_tokens: Lengths = Field(
            default=Length(fixed=32), description="output tokens per request"
        )
        system_tokens: int = Field(
            default=0, ge=0, le=LONGEST, description="tokens in a system prompt shared by all jobs"
        )
        tool_delay: Seconds = Field(
            default=0.0, ge=0, description="mean delay of the tools before a request"
        )
        fan_out: Lengths | None = Field(
            default=None, description="subagents that run in parallel after some turns"
        )
        fan_out_share: Share = Field(
            default=0.25, description="share of the turns that wait for subagents, with `fan_out`"
        )
        contents: ContentsOption = None

        @model_validator(mode="after")
        def _has_one_source_of_jobs(self) -> Agents.Options:
            wrong = self.model_fields_set & set(GENERATED if self.path else OF_FILES)
            if wrong and self.path:
                raise ValueError(f"`path` provides the jobs; remove {_listed(wrong)}")
            if wrong:
                raise ValueError(f"without `path`, jobs are generated; remove {_listed(wrong)}")
            if "fan_out_share" in self.model_fields_set and self.fan_out is None:
                raise ValueError("`fan_out_share` needs `fan_out`, the number of subagents")
            return self

    options: Options

    def check(self) -> None:
        """Raise InputError when the file of jobs cannot be read."""
        if self.options.path:
            _ = self._recorded

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat if rows or spans of the file are left out."""
        return self._recorded.left_out.caveats() if self.options.path else ()

    @property
    def has_jobs(self) -> bool:
        """Return True: objectives can be those of jobs."""
        return True

    def times(self) -> NDArray[np.float64] | None:
        """Return the times at which recorded jobs began, in seconds since the first, or None."""
        times = [job.time for job in self._recorded.jobs] if self.options.path else [None]
        known = [time for time in times if time is not None]
        return np.array(known, dtype=np.float64) if len(known) == len(times) else None

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield each job's first request, which contains the later ones.

        Recorded jobs come once, by time or in the order of the file; generated ones are endless.
        """
        filler = self.contents.filler(tokenizer, seed, self.options.contents)
        writer = _Writer(self.options, filler, tokenizer)
        for index, job in zip(count(), self._jobs(seed), strict=False):
            yield writer.request(index, job)

    def sequence_lengths(self, seed: int) -> Iterator[int]:
        """Yield the tokens of the longest sequence of each job; none of recorded messages."""
        for job in self._jobs(seed):
            if any(step.messages for step in job.steps):
                return
            yield max(_lengths(job.steps))

    def _jobs(self, seed: int) -> Iterator[Job]:
        return iter(self._recorded.jobs) if self.options.path else generated(self.options, seed)

    @cached_property
    def _recorded(self) -> RecordedJobs:
        assert self.options.path is not None  # noqa: S101 (for type checkers)
        table = read_table(self.options.path)
        chosen = self.options.format
        return READERS[jobs.recognized(table) if chosen == "auto" else chosen](table)


def _listed(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _lengths(steps: tuple[Step, ...]) -> Iterator[int]:
    """Yield the prompt and output tokens of each step whose output is a length."""
    known: list[int] = []
    for step in steps:
        before = 0 if step.is_fresh else known[step.parents[0]]
        known.append(before + step.prompt_tokens + int(step.output))
    yield from known


class _Writer:
    """Writes the requests of jobs, with prompts of the recorded blocks, messages or lengths."""

    def __init__(self, options: Agents.Options, filler: Filler, tokenizer: Tokenizer) -> None:
        self._options = options
        self._filler = filler
        self._tokenizer = tokenizer

    def request(self, index: int, job: Job) -> Request:
        first, *later = (self._turn(step) for step in job.steps)
        begin = job.steps[0]
        return Request(
            index,
            first.prompt,
            first.max_new_tokens,
            text=first.text,
            messages=first.messages,
            shared=min(len(first.prompt), begin.shared + len(begin.blocks) * self._block),
            parents=(),
            turns=tuple(later),
        )

    @property
    def _block(self) -> int:
        return self._options.block_tokens

    def _turn(self, step: Step) -> Turn:
        return Turn(
            self._prompt(step),
            step.output if isinstance(step.output, int) else self._answer(step.output),
            step.delay * self._options.delay_scale,
            step.text or None,
            step.messages,
            step.parents,
            step.is_fresh,
        )

    def _answer(self, text: str) -> int:
        return answer_tokens(text, self._tokenizer) or 1

    def _prompt(self, step: Step) -> tuple[int, ...]:
        if step.messages:
            encode = self._tokenizer.encode if step.is_fresh else self._tokenizer.encode_more
            return tuple(encode(step.text))
        blocks = self._filler.blocks(step.blocks, self._block, step.prompt_tokens)
        rest = step.prompt_tokens - len(blocks)
        return (*blocks, *self._filler.prompt(rest, step.shared, step.group))


# -- generated jobs --------------------------------------------------------------------------------


def generated(options: Agents.Options, seed: int) -> Iterator[Job]:
    """Yield jobs with random lengths and delays, endlessly; a seed always yields the same ones."""
    draws = _Draws(options, seed)
    for number, turns in enumerate(options.turns.stream(stream(seed, "turns"))):
        yield Job(f"job {number}", tuple(draws.steps(turns)))


class _Draws:
    """The random streams of generated jobs, one per quantity."""

    def __init__(self, options: Agents.Options, seed: int) -> None:
        self._options = options
        self._prompts = options.prompt_tokens.stream(stream(seed, "prompt lengths"))
        self._results = options.tool_tokens.stream(stream(seed, "tool lengths"))
        self._outputs = options.output_tokens.stream(stream(seed, "output lengths"))
        self._delays = stream(seed, "tool delays")
        self._choices = stream(seed, "fan-outs")
        widths = options.fan_out or Length(fixed=1)
        self._widths = widths.stream(stream(seed, "fan-out widths"))

    def steps(self, turns: int) -> Iterator[Step]:
        """Yield the steps of a job: a turn waits for the one before it, and for its subagents."""
        yield self._task((), MAIN)
        number = 0
        for _ in range(turns - 1):
            width = self._width()
            yield from (self._task((number,), SUBAGENT) for _ in range(width))
            parents = tuple(range(number, number + width + 1))
            yield Step(
                next(self._results), next(self._outputs), parents, self._delay(), is_fresh=False
            )
            number += width + 1

    def _task(self, parents: tuple[int, ...], group: int) -> Step:
        system = self._options.system_tokens
        tokens = system + next(self._prompts)
        delay = self._delay() if parents else 0.0
        return Step(tokens, next(self._outputs), parents, delay, shared=system, group=group)

    def _delay(self) -> float:
        return -self._options.tool_delay * float(np.log1p(-self._delays.random()))

    def _width(self) -> int:
        """Return the number of subagents before a turn, which is mostly 0."""
        has_subagents = self._choices.random() < self._options.fan_out_share
        width = next(self._widths)
        return width if has_subagents and self._options.fan_out else 0
