"""Everything fixed before the clock starts: the requests, their due times, and their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmbench import models
from llmbench.backends.base import BACKENDS, LoadShape
from llmbench.campaign.engine_checks import check_kv_tokens
from llmbench.loads.abandonment import abandonment_of
from llmbench.loads.dispatch import Arrivals, Dispatch, Limit, RequestCycle
from llmbench.loads.schedule import LOADS, Load
from llmbench.loads.stopping import Stop, stop_rule
from llmbench.runs.caveats import Caveat
from llmbench.runs.request import Request
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream
from llmbench.scenario.route import Route
from llmbench.scenario.schema import Scenario
from llmbench.workloads.base import WORKLOADS, Workload

POOL = 4096
SAMPLE_REQUESTS, SAMPLE_SECONDS = 1000, 2.0


@dataclass(frozen=True)
class Prepared:
    """A load that is ready to send.

    ``requests`` is the pool that the load cycles through. ``schedule`` has one row per due time
    known in advance; ``digest`` is a hash of these due times and of all prompt and output lengths.
    ``routes`` has what the requests of a class have of their own; ``caveats`` are those of files.
    """

    scenario: Scenario
    load: Load
    arrivals: Arrivals
    logs: Path
    requests: Sequence[Request]
    schedule: pa.Table = field(default_factory=lambda: pa.table({}))
    digest: str = ""
    routes: Mapping[str, Route] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()

    @cached_property
    def dispatch(self) -> Dispatch:
        """The dispatch of the load."""
        pool, scenario = self.requests, self.scenario
        return self.load.dispatch(pool, scenario, self.logs) or Dispatch(
            RequestCycle(pool),
            self.arrivals,
            stop_rule(scenario),
            self._limit,
            abandonment_of(scenario),
        )

    @cached_property
    def sample(self) -> Dispatch:
        """The start of the same load, for calibration: first turns only, and nobody gives up."""
        single_turns = RequestCycle([replace(request, turns=()) for request in self.requests])
        stop = Stop(requests=SAMPLE_REQUESTS, duration=SAMPLE_SECONDS)
        return Dispatch(single_turns, self.arrivals.shard(0, 1), stop, self._limit)

    @property
    def _limit(self) -> Limit:
        return Limit(self.scenario.max_in_flight, self.scenario.on_limit)

    def sending(self, requests: Sequence[Request]) -> Prepared:
        """Return the same load with its requests in the form in which they are sent."""
        return replace(self, requests=requests)

    @property
    def needed(self) -> Sequence[Request]:
        """The requests of the pool that can be sent: not more than an open loop has arrivals."""
        is_open = self.load.concurrency is None
        return self.requests[: len(self.dispatch.due_times) or None] if is_open else self.requests

    @property
    def load_shape(self) -> LoadShape:
        """The prompt lengths and the longest sequence of the load.

        A preempted request is run again with its output so far, so that its prompt is longer.
        """
        lengths = [pair for request in self.requests for pair in request.lengths()]
        prompts = sorted({prompt for prompt, _ in lengths})
        longest = max(prompt + answer for prompt, answer in lengths)
        if self.scenario.engine.queue.preempts:
            prompts = list(range(prompts[0], longest))
        return LoadShape(prompt_lengths=tuple(prompts), longest_sequence=longest)

    @property
    def prompts(self) -> list[tuple[int, ...]]:
        """The prompt of each request, as token ids."""
        return [request.prompt for request in self.requests]


def prepare(case: Case, logs: Path, drawn: DrawnRequests | None = None) -> Prepared:
    """Return a case's load, ready to send: a pure function of its scenario and input files.

    ``logs`` is the folder for logs of the load. ``drawn`` are requests of the same workload with
    the same seed that were drawn before. Raises InputError if a file cannot be read.
    """
    scenario = case.scenario
    workload = workload_of(case)
    load, stop = LOADS.part(scenario.load).following(workload), stop_rule(scenario)
    arrivals = load.arrivals(stop, stream(scenario.seed, "arrivals"))
    count = stop.total or max(len(arrivals.at_start()), POOL)
    if drawn is None:
        check_lengths(case, workload, scenario.seed, count)
        drawn = DrawnRequests(case, workload)
    pool = drawn.first(count)
    prepared = Prepared(scenario, load, arrivals, logs, pool)
    if scenario.engine.kv_tokens is not None:
        check_kv_tokens(case, prepared.load_shape.longest_sequence)
    offsets = np.array(prepared.dispatch.due_times, dtype=np.float64)
    return replace(
        prepared,
        schedule=_schedule(offsets, pool),
        digest=_digest(offsets, pool),
        routes=workload.routes,
        caveats=tuple(dict.fromkeys((*workload.caveats(), *load.caveats()))),
    )


def workload_of(case: Case) -> Workload:
    """Return the workload of a case, with the contents that its backend asks for."""
    workload = WORKLOADS.part(case.scenario.workload)
    backend = BACKENDS.part(case.backend_options)
    workload.contents = backend.contents(case.name, case.scenario.seed)
    return workload


class DrawnRequests:
    """The requests of a case's workload, drawn as far as they were needed."""

    def __init__(self, case: Case, workload: Workload) -> None:
        scenario = case.scenario
        tokenizer = models.load_tokenizer(scenario.model)
        self._following = workload.requests(tokenizer, scenario.seed)
        self._drawn: list[Request] = []

    def first(self, count: int) -> list[Request]:
        """Return the first requests, at most ``count`` if the workload ends before."""
        self._drawn += islice(self._following, max(0, count - len(self._drawn)))
        return self._drawn[:count]


def check_lengths(case: Case, workload: Workload, seed: int, count: int) -> None:
    """Raise InputError if one of the first ``count`` requests exceeds a limit on its length.

    The limits are the model's context and the engine's budget of KV tokens.

    No prompt is made and no model is loaded: what only these can tell is checked later.
    """
    context = BACKENDS.part(case.backend_options).context_length(case.scenario.model)
    if context is None and case.scenario.engine.kv_tokens is None:
        return
    longest = max(islice(workload.sequence_lengths(seed), count), default=0)
    LoadShape(prompt_lengths=(), longest_sequence=longest).check(context)
    check_kv_tokens(case, longest)


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
    """Return a hash of the due times, lengths and models of requests, equal for equal loads."""
    lengths = np.array([pair for request in pool for pair in request.lengths()], dtype=np.int64)
    models = [request.model or "" for request in pool]
    names = "\n".join(models) if any(models) else ""
    return hashlib.sha256(offsets.tobytes() + lengths.tobytes() + names.encode()).hexdigest()
