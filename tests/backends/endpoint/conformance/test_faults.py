"""A load on a server with some faulty answers: each is counted by its kind."""

from __future__ import annotations

from collections import Counter
from itertools import cycle

import numpy as np

from llmbench.backends.endpoint import Endpoint
from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.testing import open_context

REQUESTS = 240
FAULTS = (
    "internal-error", "reset", "closed", "no-done", "garbage", "split-character",
    "several-tokens", "silence",
)  # fmt: skip
SHARE = 0.05


def mixed(seed: int) -> AdversarialServer:
    """Return a server that answers 5 % of requests with each of the faults."""
    rng = np.random.default_rng(seed)
    behaviors = [*FAULTS, "plain"]
    shares = [SHARE] * len(FAULTS) + [1 - SHARE * len(FAULTS)]
    chosen = cycle(rng.choice(behaviors, size=REQUESTS, p=shares))
    return AdversarialServer(choose=lambda _: str(next(chosen)))


def test_faults_are_counted_by_kind_and_other_answers_are_complete() -> None:
    with in_background(mixed(seed=3)) as server:
        context = open_context("served:any")
        options = Endpoint.Options(url=server.url, body={"model": "mix"}, first_token_timeout=0.5)
        pool = [Request(number, (1,), 8, text="x") for number in range(REQUESTS)]
        stop = Stop(requests=REQUESTS)
        users = Closed(Closed.Options(concurrency=12)).arrivals(stop, stream(0, "arrivals"))
        with Endpoint(options.model_copy(update={"model": "plain"})).open(context) as opened:
            records = opened.serve(Dispatch(pool, users, stop), opened.new_clock(), lambda: None)
    expected = Counter[str | None]()
    for name, times in server.served.items():
        expected[BEHAVIORS[name].error] += times
    assert Counter(record.error_kind for record in records) == expected
    assert {record.output_tokens for record in records if record.succeeded} == {8}
    assert len(expected) >= 6  # every kind of fault occurred
