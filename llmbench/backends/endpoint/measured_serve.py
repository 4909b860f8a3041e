"""Serve a load from one process and measure the client's own lag and CPU time."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import uvloop

from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.answer_log import AnswerLog, LoggedAnswers
from llmbench.backends.endpoint.client import Client, Connect, Payloads, Target, connect
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.loads.clock import Clock
from llmbench.loads.dispatch import Dispatch, LoadSummary

PERCENT = 99
REFUSED = "refused_connections_server_"  # the begin of counters, one per server


@dataclass(frozen=True, slots=True)
class Served:
    """The responses of a load, the client's counters, the load's summary and the client's cost.

    ``cost`` has the p99 of event-loop lag, of sending delay and of TTFT (from sending) in seconds,
    and the client's CPU time per second of the load: ``spin_share`` for being punctual instead of
    waiting, and ``core_share`` for everything else.
    """

    answers: Iterable[Answer]
    counts: dict[str, int]
    summary: LoadSummary
    cost: dict[str, float | None]


def serve(
    target: Target,
    payload: Payloads,
    dispatch: Dispatch,
    clock: Clock,
    on_progress: Callable[[], None] = lambda: None,
    *,
    connect: Connect = connect,
    log: AnswerLog | None = None,
) -> Served:
    """Send the requests of a load from this process, and measure the client's lag and CPU time.

    The answers are appended to ``log``, by default a new one.
    """
    _raise_file_limit()
    log = log or AnswerLog()
    client = Client(target, payload, clock, on_progress, connect, log)
    with frozen_gc() as collections:
        began, cpu_began = time.monotonic(), time.process_time()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(client.serve(dispatch))
        cpu_seconds, elapsed = time.process_time() - cpu_began, time.monotonic() - began
    shares: dict[str, float | None] = {
        "core_share": max(0.0, cpu_seconds - client.spun_seconds) / elapsed,
        "spin_share": client.spun_seconds / elapsed,
    }
    client.counts["gc_collections"] = len(collections)
    for server, times in client.balancer.refusals.items():
        client.counts[f"{REFUSED}{server}"] = times
    if held := log.held_bytes:
        client.counts["answer_bytes_in_memory"] = held
    answers = LoggedAnswers([log], dispatch.requests)
    return Served(answers, client.counts, dispatch.summary, shares | _lags(client))


def _lags(client: Client) -> dict[str, float | None]:
    return {
        "loop_lag_p99": _p99(client.lag.beats),
        "send_lag_p99": _p99(client.answers.send_lags),
        "ttft_p99": _p99(client.answers.ttfts),
    }


def _p99(sample: Sequence[float]) -> float | None:
    return float(np.percentile(sample, PERCENT)) if sample else None


def merged(parts: Sequence[Served], answers: Iterable[Answer]) -> Served:
    """Merge the results of several client processes; each cost is their maximum."""
    known = {
        name: [own for part in parts if (own := part.cost[name]) is not None]
        for name in parts[0].cost
    }
    cost = {name: max(values, default=None) for name, values in known.items()}
    counts = sum((Counter(part.counts) for part in parts), Counter[str]())
    summary = LoadSummary()
    for part in parts:
        summary.absorb(part.summary)
    return Served(answers, counts, summary, cost)


def _raise_file_limit() -> None:
    """Raise this process's limit on open files, which include connections, to its hard limit."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
