"""Run a client and see what it takes: how late it is, and how much of its core."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import uvloop

from llmbench.backends.endpoint.client import Client
from llmbench.dispatch import Dispatch

__all__ = ["watched"]

PERCENT = 99


def watched(client: Client, dispatch: Dispatch) -> dict[str, float | None]:
    """Serve a dispatch and tell what that took.

    ``loop_lag_p99`` and ``send_lag_p99`` are in seconds, ``ttft_p99`` counts from the sending;
    ``core_share`` is processor time over time.
    """
    began, busy = time.monotonic(), time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(client.serve(dispatch))
    busy, took = time.process_time() - busy, time.monotonic() - began
    exchanges = client.exchanges
    return {
        "core_share": busy / took,
        "loop_lag_p99": _p99(client.lags),
        "send_lag_p99": _p99([exchange.begun - exchange.due for exchange in exchanges]),
        "ttft_p99": _p99([e.stamps[0] - e.begun for e in exchanges if e.stamps]),
    }


def _p99(sample: list[float]) -> float | None:
    return float(np.percentile(sample, PERCENT)) if sample else None
