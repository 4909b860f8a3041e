"""The times of the client, compared with the log of a server."""

from __future__ import annotations

from typing import Any

import numpy as np
from truth_servers import serving, truth

from llmbench.backends.endpoint import Endpoint
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Constant, Poisson
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.testing import open_context


def loaded(url: str, load: Any, count: int, tokens: int = 2) -> tuple[list[Record], float]:
    """Send a load; return its records and the machine's clock when the load began."""
    pool = [Request(number, (1,), tokens, text=f"request {number}") for number in range(count)]
    stop = Stop(requests=count)
    arrivals = load.arrivals(stop, stream(0, "arrivals"))
    with Endpoint(Endpoint.Options(url=url)).open(open_context("served:")) as opened:
        clock = opened.new_clock()
        assert isinstance(clock, MonotonicClock)
        records = opened.serve(Dispatch(pool, arrivals, stop), clock, lambda: None)
    return sorted(records, key=lambda record: record.request_id), clock.origin


def test_no_time_of_the_client_precedes_that_of_the_server() -> None:
    with serving("--ttft", 0.005, "--itl", 0.002) as url:
        records, origin = loaded(url, Poisson(Poisson.Options(rate=100)), 100, tokens=5)
        log = truth(url)
    for record in records:
        read, writes = log[record.request_id]
        assert record.due <= (record.sent or 0.0) <= read - origin
        assert len(record.token_times) == len(writes) == 5
        pairs = zip(record.token_times, writes, strict=True)
        assert all(seen >= wrote - origin for seen, wrote in pairs)


def test_a_freeze_of_the_server_is_completely_in_the_latencies() -> None:
    with serving("--ttft", 0.001, "--freeze", 0.25, 0.5) as url:
        records, _ = loaded(url, Constant(Constant.Options(rate=400)), 400)
    ttft = np.array([record.token_times[0] - record.due for record in records])
    # 200 of 400 requests fall due in the freeze, the first of them at its start
    assert np.percentile(ttft, 99) > 0.475
    assert (ttft > 0.125).sum() >= 145
