"""The steps of a local engine, reconstructed from the stored records of a run.

All tokens of a step have one timestamp, so that the tokens of a timestamp are those of a step. A
step begins where the previous one ends, so that its time includes the engine's own work before it;
after a time without requests, it begins when the first request is admitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.metrics.record_arrays import flat_times, floats
from llmbench.errors import InputError
from llmbench.runs.run import Run

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

NO_REPLICA = -1


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps in the order of their ends, of one replica after the other; one entry per timestamp.

    ``seconds`` is the time of a decode step of ``rows`` sequences with ``depth`` cached tokens in
    total, if there are rows, and of ``prefills`` prefill steps before or instead of it: of
    ``prompts`` chunks with ``tokens`` in total, behind ``context`` cached tokens. ``after_wait`` is
    whether the engine was idle before.
    """

    ends: Floats
    seconds: Floats
    rows: Integers
    depth: Integers
    prefills: Integers
    prompts: Integers
    tokens: Integers
    context: Integers
    after_wait: Flags

    def __len__(self) -> int:
        return len(self.ends)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Return the steps of several parts."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls))
        )

    def where(self, chosen: Flags) -> Self:
        """Return the chosen steps."""
        return type(self)(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @property
    def decodes(self) -> Flags:
        """Whether each is a decode step alone."""
        alone: Flags = (self.rows > 0) & (self.prefills == 0)
        return alone


@dataclass(frozen=True, slots=True)
class EngineSteps:
    """The steps of one engine in a run, and the lags of requests that found it idle, in seconds."""

    steps: Steps
    lags: Floats


def reconstruct(run: Run) -> list[EngineSteps]:
    """Return the steps of each engine in a run of a local backend: of each replica, in their order.

    Raises InputError if its records do not tell them.
    """
    _check(run)
    chunk = (run.case.spec.get("engine") or {}).get("prefill_chunk")
    return [_of_engine(records, chunk) for records in _by_engine(run.records)]


def _check(run: Run) -> None:
    """Raise InputError if the steps of a run cannot be reconstructed."""
    if reason := _obstacle(run):
        raise InputError(
            f"{run.name}: {reason}; fit step times to runs of a local backend such as `eager`"
        )


def _obstacle(run: Run) -> str | None:
    records = run.records
    if run.failure or run.summary is not None or not len(records):
        return "it has no records"
    if run.backend_report.get("engine_steps") is None:
        return "its engine is not llmbench's, and stamps of a client do not show a server's steps"
    if (pc.max(pc.list_flatten(records["token_counts"])).as_py() or 0) > 1:
        return "its steps yield several tokens each (speculative decoding), which is not modeled"
    if pc.any(pc.greater(records["preemptions"], 0)).as_py():
        return "requests were preempted, and records do not show which steps ran them again"
    return None


def _by_engine(records: pa.Table) -> Iterator[pa.Table]:
    served = records.filter(pc.greater(pc.list_value_length(records["token_times"]), 0))
    replicas = pc.fill_null(served["replica"], NO_REPLICA)
    for replica in sorted(pc.unique(replicas).to_pylist()):
        yield served.filter(pc.equal(replicas, replica)).combine_chunks()


def _of_engine(records: pa.Table, chunk: int | None) -> EngineSteps:
    """Return the steps of one engine."""
    tokens = _Tokens.of(records)
    ends, step = np.unique(tokens.times, return_inverse=True)
    size = len(ends)

    def total(values: Any, chosen: Flags) -> Integers:
        return np.bincount(step[chosen], values[chosen], size).astype(np.int64)

    first = tokens.number == 0
    ones = np.ones(len(step))
    begins, idle, lags = _begins(records, tokens, ends)
    steps = Steps(
        ends=ends,
        seconds=ends - begins,
        rows=total(ones, ~first),
        depth=total(tokens.prompt + tokens.number - 1, ~first),
        prefills=np.minimum(total(ones, first), 1),
        prompts=total(ones, first),
        tokens=total(tokens.prompt - tokens.cached, first),
        context=total(tokens.cached, first),
        after_wait=idle,
    )
    if chunk is not None:
        _divide(steps, records, chunk)
    return EngineSteps(steps, lags)


@dataclass(frozen=True, slots=True)
class _Tokens:
    """All tokens of an engine: their times, and their numbers within their requests."""

    times: Floats
    number: Integers
    prompt: Integers
    cached: Integers

    @classmethod
    def of(cls, records: pa.Table) -> Self:
        times, ends = flat_times(records)
        counts = np.diff(ends, prepend=0)
        number = np.arange(len(times)) - np.repeat(ends - counts, counts)
        prompt = records["prompt_tokens"].to_numpy()
        return cls(times, number, np.repeat(prompt, counts), np.repeat(_cached(records), counts))


def _cached(records: pa.Table) -> Integers:
    cached: Integers = pc.fill_null(records["cached_tokens"], 0).to_numpy()
    return cached


def _begins(records: pa.Table, tokens: _Tokens, ends: Floats) -> tuple[Floats, Flags, Floats]:
    """Return when each step begins, whether the engine was idle, and the lags of requests then."""
    sent, due = floats(records["sent"]), floats(records["due"])
    _, last = flat_times(records)
    finished = np.sort(tokens.times[last - 1])
    before = np.concatenate([[-np.inf], ends[:-1]])
    in_flight = np.searchsorted(np.sort(sent), before, side="right") - np.searchsorted(
        finished, before, side="right"
    )
    order = np.argsort(sent, kind="stable")
    following = np.minimum(np.searchsorted(sent[order], before, side="right"), len(sent) - 1)
    waker = order[following]
    idle = in_flight == 0
    is_late = idle & (due[waker] > before)
    return np.where(idle, sent[waker], before), idle, (sent - due)[waker][is_late]


def _divide(steps: Steps, records: pa.Table, chunk: int) -> None:
    """Assign the chunks of split prompts to the steps in whose time they ran.

    A chunk that is not the last of its prompt has no timestamp. It runs before the next decode
    step, or if nothing decodes, before the next chunk.
    """
    prompt, cached = records["prompt_tokens"].to_numpy(), _cached(records)
    started = floats(records["started"])
    first = floats(pc.list_element(records["token_times"], 0))
    for index in np.flatnonzero(prompt - cached > chunk):
        left = np.searchsorted(steps.ends, started[index], side="right")
        right = np.searchsorted(steps.ends, first[index])
        chunks = -(-(prompt[index] - cached[index]) // chunk) - 1  # besides the last
        apart = min(right - left, chunks)
        inner = slice(left, left + apart)
        steps.prefills[inner] += 1
        steps.prompts[inner] += 1
        steps.tokens[inner] += chunk
        steps.context[inner] += cached[index] + chunk * np.arange(apart)
        steps.prefills[right] += chunks - apart
        steps.tokens[right] -= chunk * apart
        steps.context[right] += chunk * apart
