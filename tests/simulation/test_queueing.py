"""Waits and queues with a known theory: Poisson arrivals, and steps without a model of a device.

A replica with one slot is a single server. Its c slots are c servers where a prefill step takes no
time and a decode step takes the same time for any number of rows. The engine has no queue that
several replicas share.
"""

from __future__ import annotations

from itertools import product
from math import factorial

import numpy as np
import pytest
from numpy.typing import NDArray

from llmbench.runs.request import Request
from llmbench.scenario.replicas import Policy
from llmbench.simulation.draws import NO_NOISE, Draws, Factors, Noise
from llmbench.simulation.fast import FastReplica
from llmbench.simulation.jumps import serve_alone, serve_balanced
from llmbench.simulation.plan import Plan, Served
from llmbench.simulation.step_times import StepModel

REQUESTS, BATCHES = 100_000, 40
STUDENT = 3.6  # 99.9 % of Student's t with 39 degrees of freedom
MEAN_WAITS = {"constant": 0.5, "exponential": 1.0}  # M/D/1 and M/M/1, in rho / (1 - rho)
BY_DEFAULT = {("constant", 0.6), ("exponential", 0.8)}
STEP = 0.01  # of a decode step, relative to the mean service time


class Server(StepModel):
    """A prefill step takes as long as a service of mean 1; decode steps are short."""

    def __init__(self, prefill: float = 1.0) -> None:
        self.prefill = prefill

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        del tokens, context, prompts
        return self.prefill

    def decode_line(self, rows: int) -> tuple[float, float]:
        del rows
        return STEP, 0.0


def plan(rng: np.random.Generator, rate: float, outputs: NDArray[np.int64]) -> Plan:
    count = len(outputs)
    requests = [Request(number, (1,), 1) for number in range(count)]
    due = np.cumsum(rng.exponential(1 / rate, count))
    return Plan(requests, due, 0, "schedule", np.ones(count, dtype=np.int64), outputs)


def exponential(rng: np.random.Generator) -> Factors:
    return Factors(Noise(prefill=lambda count: rng.exponential(1.0, count)))


def check_mean(values: NDArray[np.float64], theory: float, bias: float = 0.0) -> None:
    """Compare the mean of a stationary series with theory, by the means of its batches."""
    means = values[: len(values) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    error = means.std(ddof=1) / np.sqrt(BATCHES)
    assert abs(means.mean() - theory) < STUDENT * error + bias
    assert error < 0.1 * theory


@pytest.mark.parametrize(
    ("service", "load"),
    [
        pytest.param(*case, marks=() if case in BY_DEFAULT else pytest.mark.slow)
        for case in product(MEAN_WAITS, (0.3, 0.6, 0.8))
    ],
)
def test_waits_for_one_server_are_those_of_pollaczek_and_khinchine(
    service: str, load: float
) -> None:
    rng = np.random.default_rng(1)
    factors = exponential(rng.spawn(1)[0]) if service == "exponential" else Factors(NO_NOISE)
    arriving = plan(rng, load, np.ones(REQUESTS, dtype=np.int64))
    served = serve_alone(arriving, FastReplica(Server(), 1, 1, factors))
    check_mean(served.started - arriving.due, MEAN_WAITS[service] * load / (1 - load))


def erlang_c(servers: int, offered: float) -> float:
    """The probability of waiting: Erlang 1917, with ``offered`` load in Erlangs."""
    terms = [offered**k / factorial(k) for k in range(servers)]
    last = offered**servers / factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("servers", [2, 8])
def test_waits_for_slots_are_those_of_erlang(servers: int) -> None:
    rng = np.random.default_rng(2)
    steps = rng.geometric(STEP, REQUESTS // 2)
    rate = 0.8 * servers
    arriving = plan(rng, rate, steps + 1)
    served = serve_alone(arriving, FastReplica(Server(0.0), servers, 1, Factors(NO_NOISE)))
    theory = erlang_c(servers, rate) / (servers - rate)
    # a request that could begin at once waits for the end of the current step
    check_mean(served.started - arriving.due, theory, bias=STEP)


def balanced(policy: Policy, load: float, replicas: int, requests: int) -> tuple[Plan, Served]:
    """Serve a Poisson load by replicas with one slot and exponential service times of mean 1."""
    rng = np.random.default_rng(3)
    arriving = plan(rng, load * replicas, np.ones(requests, dtype=np.int64))
    streams = map(exponential, rng.spawn(replicas))
    servers = [FastReplica(Server(), 1, 1, stream) for stream in streams]
    lags = [Draws(None, 0.0) for _ in servers]
    return arriving, serve_balanced(arriving, servers, lags, policy, seed=0)


def test_queues_of_two_choices_are_those_of_the_mean_field() -> None:
    """The share of replicas with at least k requests is s[k] = load ^ (2^k - 1).

    Vvedenskaya, Dobrushin, Karpelevich 1996; Mitzenmacher 2001. Here the load is that of the
    sample, which is s[1]. With n replicas, the mean differs from the limit by O(1 / n).
    """
    load, replicas, warm, until, batches = 0.7, 1000, 20.0, 120.0, 8
    arriving, served = balanced("two-choices", load, replicas, int(load * replicas * until))
    assert served.replica is not None
    shares = []
    for moment in np.arange(warm, until - 4, 1.0):
        in_flight = (arriving.due <= moment) & (served.first > moment)
        queues = np.bincount(served.replica[in_flight], minlength=replicas)
        shares.append([(queues >= k).mean() for k in range(1, 5)])
    means = np.reshape(shares, (batches, -1, 4)).mean(axis=1)
    errors = means.std(axis=0, ddof=1) / np.sqrt(batches)
    sampled = means[:, 0].mean()
    theory = [sampled ** (2**k - 1) for k in range(1, 5)]
    assert abs(sampled - load) < 5.4 * errors[0]  # 99.9 % of Student's t with 7 degrees of freedom
    assert (abs(means.mean(axis=0) - theory) < 5.4 * errors + 1 / replicas).all()
    assert (errors < 0.1 * np.array(theory)).all()


def test_nobody_waits_where_requests_go_to_the_least_loaded_of_many_replicas() -> None:
    arriving, served = balanced("least-loaded", 0.7, 1000, 30_000)
    assert (served.started == arriving.due).all()
