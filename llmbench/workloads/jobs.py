"""Jobs of agents: requests that wait for others, read from conversations and sessions.

* OpenAI's messages: one conversation per row, in which each answer was a request.
* Mooncake's sessions, as AIPerf reads them: one request per row, with a ``session_id``.
* OpenTelemetry's spans: see workloads.spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from llmbench.errors import FileError, shown
from llmbench.runs.request import Message
from llmbench.runs.tables import LeftOut, LeftOutError, Row, Table
from llmbench.workloads.rows import MAX_TOKENS, messages_in, messages_with_fields

JobFormat = Literal["auto", "messages", "mooncake", "otel"]
MAX_REQUESTS = 5_000  # of a job
MAX_TEXT = 40_000_000  # characters of a prompt of messages
MAX_DELAY_MS = 1e9  # 12 days
MAX_TIME_MS = 1e14  # the year 5138
MILLISECONDS = 1000.0
SESSION, DELAY, BLOCKS = "session_id", "delay", "hash_ids"


@dataclass(frozen=True, slots=True)
class Step:
    """A request of a job.

    ``parents`` are the numbers of the steps that it waits for, all lower than its own. It is due
    ``delay`` seconds after the last of their responses or, without parents, after the job began.
    Its prompt is ``messages``, or has ``prompt_tokens``, of which the first ``shared`` are those of
    its ``group`` or which begin with ``blocks``. It is complete if ``is_fresh``, and otherwise
    continues the conversation of the first parent. ``output`` is the answer, or its length.
    """

    prompt_tokens: int
    output: int | str
    parents: tuple[int, ...] = ()
    delay: float = 0.0
    is_fresh: bool = True
    blocks: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    shared: int = 0
    group: int = 0

    @property
    def text(self) -> str:
        """The messages as text."""
        return "".join(message.plain for message in self.messages)


@dataclass(frozen=True, slots=True)
class Job:
    """The steps of a job, and when it began in seconds, if recorded; ``where`` is its location."""

    where: str
    steps: tuple[Step, ...]
    time: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedJobs:
    """The jobs of a file, by time if they have one, and the rows that are left out."""

    jobs: list[Job]
    left_out: LeftOut


def recorded(path: Path, jobs: Sequence[Job], left_out: LeftOut) -> RecordedJobs:
    """Return jobs with times since the first; raise FileError if there are none, or a large one."""
    if not jobs:
        reasons = ", ".join(left_out.reasons)
        raise FileError(path, f"no job can be used: {reasons}" if reasons else "has no jobs")
    for job in jobs:
        if len(job.steps) > MAX_REQUESTS:
            problem = f"the job has {len(job.steps):,} requests"
            raise FileError(job.where, problem, f"at most {MAX_REQUESTS:,}")
        _check_prompts(job)
    left_out.kept = len(jobs)
    times = [job.time for job in jobs if job.time is not None]
    if len(times) < len(jobs):
        return RecordedJobs([replace(job, time=None) for job in jobs], left_out)
    begin = min(times)
    timed = [replace(job, time=time - begin) for job, time in zip(jobs, times, strict=True)]
    return RecordedJobs(sorted(timed, key=lambda job: job.time or 0.0), left_out)


def _check_prompts(job: Job) -> None:
    """Raise FileError if a prompt, with the conversation that it continues, is too long."""
    tokens: list[int] = []  # of the conversation after each request, as far as known
    characters: list[int] = []
    for step in job.steps:
        first = None if step.is_fresh else step.parents[0]
        text = sum(len(message.plain) for message in step.messages)
        of_prompt = step.prompt_tokens + (0 if first is None else tokens[first])
        of_text = text + (0 if first is None else characters[first])
        for unit, length, most in (
            ("tokens", of_prompt, MAX_TOKENS),
            ("characters", of_text, MAX_TEXT),
        ):
            if length > most:
                number = len(tokens) + 1
                problem = f"the prompt of request {number:,} of the job has {length:,} {unit}"
                raise FileError(job.where, problem, f"at most {most:,}")
        tokens.append(of_prompt + (step.output if isinstance(step.output, int) else 0))
        characters.append(of_text)


# -- OpenAI's messages -----------------------------------------------------------------------------


def from_messages(table: Table) -> RecordedJobs:
    """Return a job per conversation, in which each answer was a request for it.

    The prompt of a request is all messages before the answer, as recorded. Its delay is the longest
    of those of the tools before it.
    """
    converted = table.convert(_conversation, "conversations with answers")
    return recorded(table.path, converted.values, converted.left_out)


def _conversation(row: Row) -> Job:
    steps = tuple(_answers(row))
    if not steps:
        raise LeftOutError("without an answer")
    return Job(row.where, steps)


def _answers(row: Row) -> Iterator[Step]:
    before: list[Message] = []
    number, delay = 0, 0.0
    for message, fields in messages_with_fields(messages_in(row)):
        if message.role == "assistant" and before:
            parents = (number - 1,) if number else ()
            pause = delay if number else 0.0
            yield Step(0, message.plain, parents, pause, messages=tuple(before))
            number, delay = number + 1, 0.0
        delay = max(delay, _delay(fields, row.where))
        before.append(message)


def _delay(fields: Any, where: str) -> float:
    """Return a delay in seconds, which is recorded in milliseconds; 0 if there is none."""
    value = fields.get(DELAY)
    if value is None:
        return 0.0
    return _number(value, DELAY, where, MAX_DELAY_MS) / MILLISECONDS


def _number(value: Any, name: str, where: str, most: float) -> float:
    """Return a number from 0 to ``most``."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= most:
        raise FileError(where, f"{name}: found {shown(value)}", f"a number from 0 to {most:,.0f}")
    return float(value)


# -- Mooncake's sessions ---------------------------------------------------------------------------


def from_sessions(table: Table) -> RecordedJobs:
    """Return a job per session, whose rows follow each other in the order of the file.

    A row with block ids or messages has a complete prompt, unless its ``message_mode`` is
    ``delta``; any other row has the tokens that it adds to the conversation.
    """
    sessions: dict[str, list[Row]] = {}
    malformed: list[FileError] = []
    for row in table.rows:
        try:
            sessions.setdefault(_session(row), []).append(row)
        except FileError as error:
            malformed.append(error)
    jobs = []
    for rows in sessions.values():
        try:
            jobs.append(_job(rows))
        except FileError as error:
            malformed.append(error)
    if malformed:
        raise FileError.of_all(malformed)
    return recorded(table.path, jobs, table.left_out)


def _session(row: Row) -> str:
    value = row.fields.get(SESSION)
    if value is None or isinstance(value, bool | float | list | dict) or value == "":
        raise FileError(row.where, f"{SESSION}: found {shown(value)}", "a text or a whole number")
    return str(value)


def _job(rows: Sequence[Row]) -> Job:
    steps = tuple(_step(number, row) for number, row in enumerate(rows))
    time = rows[0].fields.get("timestamp")
    if time is not None:
        time = _number(time, "timestamp", rows[0].where, MAX_TIME_MS) / MILLISECONDS
    return Job(rows[0].where, steps, time)


def _step(number: int, row: Row) -> Step:
    output = _whole(row, "output_length")
    parents, delay = ((number - 1,), _delay(row.fields, row.where)) if number else ((), 0.0)
    if row.fields.get("messages") is not None:
        is_fresh = not number or row.fields.get("message_mode") != "delta"
        return Step(0, output, parents, delay, is_fresh, messages=_said(row))
    tokens, blocks = _whole(row, "input_length"), _blocks(row)
    is_fresh = not number or bool(blocks)
    return Step(tokens, output, parents, delay, is_fresh, blocks)


def _whole(row: Row, name: str) -> int:
    value: Any = row.fields.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 1 <= value <= MAX_TOKENS or value != int(value):
        expected = f"a whole number from 1 to {MAX_TOKENS:,}"
        raise FileError(row.where, f"{name}: found {shown(value)}", expected)
    return int(value)


def _blocks(row: Row) -> tuple[int, ...]:
    ids = row.fields.get(BLOCKS) or []
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        raise FileError(row.where, f"{BLOCKS}: found {shown(ids)}", "a list of whole numbers")
    return tuple(ids)


def _said(row: Row) -> tuple[Message, ...]:
    value = row.fields["messages"]
    try:
        pairs = messages_with_fields(value if isinstance(value, list) else None)
        messages = tuple(message for message, _ in pairs)
    except LeftOutError as reason:
        raise FileError(row.where, f"messages: {reason}", "a list of messages of text") from None
    if not messages:
        raise FileError(row.where, "messages: all are blank", "a message of text")
    return messages


# -- any format ------------------------------------------------------------------------------------


def recognized(table: Table) -> JobFormat:
    """Return the format of a file by the fields of its first row; raise FileError if unknown."""
    if not table.rows:
        raise FileError(table.path, "has no rows", "jobs")
    first = table.rows[0]
    if {"resourceSpans", "scopeSpans", "spans", "spanId"} & set(first.fields):
        return "otel"
    if SESSION in first.fields:
        return "mooncake"
    if messages_in(first) is not None:
        return "messages"
    raise FileError(
        first.where,
        f"unknown form of jobs (found {first.columns})",
        "spans, rows with session_id, or conversations",
    )
