"""Everything fixed before the clock starts: the requests, their due times, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmbench import models
from llmbench.backends.base import BACKENDS, LoadShape
from llmbench.loads.dispatch import Dispatch, Limit, RequestCycle
from llmbench.loads.schedule import LOADS
from llmbench.loads.stopping import Stop, stop_rule
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream
from llmbench.workloads.base import WORKLOADS, Workload

POOL = 4096
SAMPLE_REQUESTS, SAMPLE_SECONDS = 1000, 2.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A load that is ready to send.

    ``sample`` is the start of the same load, for calibration, with only the first turn of each
    session. ``requests`` is the pool that the load cycles through. ``schedule`` has one row per due
    time known in advance; ``digest`` is a hash of these due times and of all prompt and output
    lengths.
    """

    dispatch: Dispatch
    sample: Dispatch
    load_shape: LoadShape
    requests: list[Request]
    schedule: pa.Table
    digest: str

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """The prompt of each request, as token ids."""
        return [request.prompt for request in self.requests]


def prepare(case: Case, logs: Path) -> Prepared:
    """Return a case's load, ready to send: a pure function of its scenario and input files.

    ``logs`` is the folder for logs of the load. Raises InputError if a file cannot be read.
    """
    scenario = case.scenario
    stop, sample_stop = stop_rule(scenario), Stop(requests=SAMPLE_REQUESTS, duration=SAMPLE_SECONDS)
    workload = WORKLOADS.part(scenario.workload)
    load = LOADS.part(scenario.load).following(workload)
    arrivals = load.arrivals(stop, stream(scenario.seed, "arrivals"))
    pool = _draw(case, workload, stop.total or max(len(arrivals.at_start()), POOL))
    limit = Limit(scenario.max_in_flight, scenario.on_limit)
    dispatch = load.dispatch(pool, scenario, logs) or Dispatch(
        RequestCycle(pool), arrivals, stop, limit
    )
    offsets = np.array(dispatch.due_times, dtype=np.float64)
    single_turns = RequestCycle([replace(request, turns=()) for request in pool])
    sample = Dispatch(single_turns, arrivals.shard(0, 1), sample_stop, limit)
    schedule, digest = _schedule(offsets, pool), _digest(offsets, pool)
    return Prepared(dispatch, sample, _load_shape(pool), pool, schedule, digest)


def _draw(case: Case, workload: Workload, count: int) -> list[Request]:
    scenario = case.scenario
    tokenizer = models.load_tokenizer(scenario.model)
    pool = islice(workload.requests(tokenizer, scenario.seed), count)
    if not BACKENDS.find(case.backend).sends_text:
        return list(pool)
    return [_with_text(request, tokenizer) for request in pool]


def _with_text(request: Request, tokenizer: Tokenizer) -> Request:
    """Return a request with its text, decoded from its ids if necessary."""
    if request.text:
        return request
    turns = tuple(replace(turn, text=tokenizer.decode(turn.prompt)) for turn in request.turns)
    return replace(request, text=tokenizer.decode(request.prompt), turns=turns)


def _load_shape(pool: Sequence[Request]) -> LoadShape:
    lengths = [pair for request in pool for pair in request.lengths()]
    return LoadShape(
        prompt_lengths=tuple(sorted({prompt for prompt, _ in lengths})),
        longest_sequence=max(prompt + answer for prompt, answer in lengths),
    )


def _schedule(offsets: NDArray[np.float64], pool: Sequence[Request]) -> pa.Table:
    """Return the due times and request lengths as a trace in llmbench's format.

    See workloads.trace_files for the format.
    """
    sent = [pool[number % len(pool)] for number in range(len(offsets))]
    columns = {
        "time": pa.array(offsets),
        "prompt_tokens": pa.array([len(r.prompt) for r in sent], pa.int64()),
        "output_tokens": pa.array([r.max_new_tokens for r in sent], pa.int64()),
        "request_class": pa.array([r.request_class for r in sent], pa.string()),
    }
    return pa.table(columns)


def _digest(offsets: NDArray[np.float64], pool: Sequence[Request]) -> str:
    """Return a hash of the due times and of prompt and output lengths, equal for equal loads."""
    lengths = np.array([pair for request in pool for pair in request.lengths()], dtype=np.int64)
    return hashlib.sha256(offsets.tobytes() + lengths.tobytes()).hexdigest()
