"""Waits of a queue with a known theory: one server, Poisson arrivals, on the virtual clock."""

from __future__ import annotations

from itertools import count, product

import numpy as np
import pytest

from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Poisson
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.testing import fake_server, open_context, serve

SERVICE, REQUESTS, BATCHES = 0.01, 40_000, 40


def waits(service: str, share: float) -> np.ndarray:
    """How long each request waits where the server is busy for that share of the time."""
    stop = Stop(requests=REQUESTS)
    arrivals = Poisson(Poisson.Options(rate=share / SERVICE)).arrivals(stop, stream(1, "arrivals"))
    requests = (Request(number, (1,), 1) for number in count())
    with fake_server(open_context(slots=1), prefill=SERVICE, service=service) as server:
        records = serve(server, Dispatch(requests, arrivals, stop))
    return np.array([(record.started or 0.0) - record.due for record in records])


MEAN_WAITS = {"constant": 0.5, "exponential": 1.0}  # Pollaczek and Khinchine, in rho D/(1-rho)
BY_DEFAULT = {("constant", 0.6), ("exponential", 0.8)}


@pytest.mark.parametrize(
    ("service", "share"),
    [
        pytest.param(*case, marks=() if case in BY_DEFAULT else pytest.mark.slow)
        for case in product(MEAN_WAITS, (0.3, 0.6, 0.8))
    ],
)
def test_mean_waits_agree_with_queueing_theory(service: str, share: float) -> None:
    theory = MEAN_WAITS[service] * share * SERVICE / (1 - share)
    means = waits(service, share).reshape(BATCHES, -1).mean(axis=1)  # neighbors are not independent
    error = means.std(ddof=1) / np.sqrt(BATCHES)
    assert abs(means.mean() - theory) < 3.6 * error  # 99.9 % of Student's t
    assert error < 0.1 * theory
