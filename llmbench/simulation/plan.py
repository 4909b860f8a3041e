"""Loads whose requests are all known before they begin, and the records of their requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmbench.campaign.prepare import Prepared
from llmbench.loads.dispatch import Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Reason, Stop, stop_rule
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.runs.run import RECORD_SCHEMA

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
OF_REQUESTS = ("prompt_id", "tokenize_seconds", "request_class", "model")


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of a load with their due times, in the order of both, and why it ends.

    The first ``warmup`` are not measured. ``prompts`` and ``outputs`` are their tokens.
    """

    requests: Sequence[Request]
    due: Floats
    warmup: int
    ended_by: Reason
    prompts: Integers
    outputs: Integers

    def __len__(self) -> int:
        return len(self.due)


def plan_of(load: Prepared) -> Plan | None:
    """Return the plan of an open load; None if what is sent depends on what is answered."""
    scenario, stop = load.scenario, stop_rule(load.scenario)
    if (
        type(load.dispatch) is not Dispatch
        or not isinstance(load.arrivals, Scheduled)
        or scenario.max_in_flight is not None
        or scenario.abandon is not None
        or stop.precision is not None
        or any(request.turns or request.is_in_job for request in load.requests)
    ):
        return None
    offsets = load.arrivals.offsets
    planned = stop.count(offsets)
    count = len(offsets) if planned is None else planned
    requests = _first(load.requests, count)
    return Plan(
        requests=requests,
        due=offsets[:count],
        warmup=stop.warmup,
        ended_by=_ended_by(stop, offsets, count),
        prompts=np.fromiter((len(request.prompt) for request in requests), np.int64, count),
        outputs=np.fromiter((request.max_new_tokens for request in requests), np.int64, count),
    )


def _first(pool: Sequence[Request], count: int) -> Sequence[Request]:
    """Return the first requests of a cycle over a pool."""
    if count <= len(pool) and pool[0].id == 0 and pool[count - 1].id == count - 1:
        return pool[:count]
    return [request for request, _ in zip(RequestCycle(pool), range(count), strict=False)]


def _ended_by(stop: Stop, offsets: Floats, count: int) -> Reason:
    """Return why a load ends after its first requests, as its dispatch does."""
    has_next, has_begun = count < len(offsets), count > stop.warmup
    since = offsets[count] - offsets[stop.warmup] if has_next and has_begun else -np.inf
    return stop.reached(count, float(since)) or "schedule"


@dataclass(frozen=True, slots=True)
class Served:
    """When the requests of a plan were served, by request.

    The first token is that of a prefill step, at ``first``; the others are those of consecutive
    decode steps, from the index ``decoded`` in ``ends`` on. ``replica`` is None without replicas.
    """

    sent: Floats
    started: Floats
    first: Floats
    decoded: Integers
    ends: Floats
    replica: Integers | None


def table(plan: Plan, served: Served) -> pa.Table:
    """Return the records of the requests of a plan, in the schema of stored runs."""
    count, requests = len(plan), plan.requests
    ends = pa.array(np.append(0, np.cumsum(plan.outputs)), pa.int32())
    tokens = int(plan.outputs.sum())
    phases = np.where(np.arange(count) < plan.warmup, "warmup", "measured")
    columns: dict[str, Any] = {
        "request_id": np.arange(count),
        "phase": phases,
        "due": plan.due,
        "sent": served.sent,
        "started": served.started,
        "token_times": pa.ListArray.from_arrays(ends, _token_times(plan, served)),
        "token_counts": pa.ListArray.from_arrays(ends, np.ones(tokens, dtype=np.int32)),
        "output_tokens": plan.outputs,
        "prompt_tokens": plan.prompts,
        "max_new_tokens": plan.outputs,
        "replica": served.replica,
        **{name: [getattr(request, name) for request in requests] for name in OF_REQUESTS},
    }
    alike = _alike(requests[0]) if count else None
    arrays = [
        pa.array(columns[field.name], field.type)
        if columns.get(field.name) is not None
        else pa.repeat(pa.scalar(getattr(alike, field.name, None), field.type), count)
        for field in RECORD_SCHEMA
    ]
    return pa.table(arrays, schema=RECORD_SCHEMA)


def _alike(request: Request) -> Record:
    """Return a record with the fields that all records of a plan have in common."""
    return Record.of(request, 0.0, None, "length", preemptions=0)


def _token_times(plan: Plan, served: Served) -> Floats:
    """Return the times of all tokens, request by request."""
    begins = np.cumsum(plan.outputs) - plan.outputs
    index = np.arange(plan.outputs.sum()) + np.repeat(served.decoded - 1 - begins, plan.outputs)
    times: Floats = np.append(served.ends, 0.0)[index]
    times[begins] = served.first
    return times
