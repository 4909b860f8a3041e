"""How the client waits for due times, and what that costs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from llmbench.backends.endpoint import loopback, options, timer
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.measured_serve import Served, serve
from llmbench.backends.endpoint.openai_types import Envelope, Payload
from llmbench.backends.endpoint.options import SPIN_SECONDS, EndpointOptions
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request

Machine = Callable[[int, int], None]
URL, ADDRESS = "http://127.0.0.1:1", Address(("127.0.0.1",), 1)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Set the number of cores that this process may use, and of all."""

    def set_cores(usable: int, cores: int) -> None:
        monkeypatch.setattr(options, "usable_cores", lambda: usable)
        monkeypatch.setattr(os, "cpu_count", lambda: cores)

    return set_cores


@pytest.mark.parametrize(
    ("usable", "cores", "clients", "pacing"),
    [
        (2, 2, 1, "precise"),
        (1, 2, 1, "precise"),
        (1, 1, 1, "frugal"),
        (1, 4, 2, "frugal"),
        (4, 4, 4, "frugal"),
    ],
)
def test_pacing_is_precise_where_a_core_is_free(
    machine: Machine, usable: int, cores: int, clients: int, pacing: str
) -> None:
    machine(usable, cores)
    chosen = EndpointOptions(url=URL, clients=clients)
    assert chosen.effective_pacing == pacing
    assert chosen.target(ADDRESS).spin_seconds == (SPIN_SECONDS if pacing == "precise" else 0)


def test_frugal_pacing_is_frugal_everywhere(machine: Machine) -> None:
    machine(8, 8)
    assert EndpointOptions(url=URL, pacing="frugal").effective_pacing == "frugal"


def served(spin_seconds: float) -> Served:
    """Serve a load of five requests, one every 50 ms, without a server."""
    target = replace(EndpointOptions(url=URL).target(ADDRESS), spin_seconds=spin_seconds)
    dispatch = Dispatch(
        [Request(number, (1,), 1, text="a") for number in range(5)],
        Scheduled(np.arange(5, dtype=np.float64) * 0.05),
        Stop(requests=5),
    )
    payload = Payload(Envelope((b"",), {"stream": True}), chat=True)
    clock = MonotonicClock(time.monotonic() + 0.2)  # garbage is collected before the first request
    return serve(target, payload, dispatch, clock, connect=loopback.connect)


def test_the_cost_of_precise_pacing_is_known_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timer, "_IDLE_SECONDS", 1.0)  # a busy machine is slow in doing nothing, too
    assert served(0.0).cost["spin_share"] == 0
    precise = served(0.045)
    spin_share, core_share = precise.cost["spin_share"], precise.cost["core_share"]
    assert spin_share is not None
    assert core_share is not None
    assert spin_share > 0
    assert core_share >= 0
    assert all(answer.begun >= answer.due for answer in precise.answers)
