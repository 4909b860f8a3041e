"""Client processes share a load; if one is lost, its requests are counted, and the others go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from model_servers import model_servers

from llmbench.backends.endpoint import Endpoint, client_pool
from llmbench.backends.endpoint.client_pool import ClientPool
from llmbench.environment.child_process import Child
from llmbench.errors import MeasurementError
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Arrivals, Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.testing import open_context


def pids(pool: ClientPool | None) -> list[int]:
    """The process ids of the clients."""
    assert pool
    channels = [member.client.channel for member in pool.members]
    return [channel.pid for channel in channels if isinstance(channel, Child)]


@dataclass
class Load:
    """A load whose clients are killed, all at once, as soon as some requests are answered."""

    arrivals: Arrivals
    count: int
    killed: Sequence[int] = ()
    after: int = 12
    warmup: int = 0
    caveats: list[Any] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)

    def serve(self, clients: int = 2, **options: Any) -> list[Record]:
        pool = [Request(n, (1, 2), 3, text=f"p{n}") for n in range(self.count)]
        stop = Stop(warmup=self.warmup, requests=self.count - self.warmup)
        dispatch = Dispatch(RequestCycle(pool), self.arrivals, stop)
        with model_servers(1, delay=0.005) as (server,):
            backend = Endpoint(Endpoint.Options(url=server.url, clients=clients, **options))
            with backend.open(open_context("served:")) as opened:
                left = [pids(opened.clients)[index] for index in self.killed]

                def kill() -> None:
                    if dispatch.completed >= self.after:
                        while left:
                            os.kill(left.pop(), signal.SIGKILL)

                records = opened.serve(dispatch, opened.new_clock(), kill)
                self.completed = dispatch.completed
                self.caveats = list(opened.report().caveats)
        return sorted(records, key=lambda record: record.request_id)


def scheduled(count: int, rate: float = 20.0) -> Scheduled:
    return Scheduled(np.arange(count) / rate)


def users(count: int) -> Arrivals:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


def lost(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.error_kind == "client-lost"]


@pytest.fixture(scope="module")
def halved() -> Load:
    """A load that has lost the second of its two clients."""
    load = Load(scheduled(40), 40, killed=[1], warmup=3)
    load.records = load.serve()
    return load


def test_answered_and_lost_requests_are_the_schedule(halved: Load) -> None:
    records = halved.records
    assert [record.request_id for record in records] == list(range(40))
    assert [record.due for record in records] == list(np.arange(40) / 20)
    assert [record.phase for record in records] == ["warmup"] * 3 + ["measured"] * 37
    assert {record.finish for record in records} == {"length", "error"}
    assert 0 < len(lost(records)) < 20
    assert halved.completed == 40


def test_all_requests_of_the_others_are_answered_and_so_are_those_before_the_loss(
    halved: Load,
) -> None:
    others, own = halved.records[::2], halved.records[1::2]
    assert lost(others) == []
    answered = len(own) - len(lost(own))
    assert answered >= 4  # twelve requests were answered, and half of them are client 1's
    assert [record.succeeded for record in own] == [True] * answered + [False] * (20 - answered)


def test_a_lost_request_says_which_client_had_it_and_was_sent_at_no_known_time(
    halved: Load,
) -> None:
    first, *_ = lost(halved.records)
    assert first.error_message == "client 1 was killed by SIGKILL; no answer of it is known"
    assert (first.sent, first.token_times, first.output_tokens) == (None, (), 0)


def test_a_lost_client_is_a_caveat_that_blocks_claims(halved: Load) -> None:
    requests = len(lost(halved.records))
    (caveat,) = [caveat for caveat in halved.caveats if caveat.kind == "client-lost"]
    assert caveat.parameters["requests"] == requests
    assert caveat.message.startswith("client 1 was killed by SIGKILL after ")
    assert caveat.blocks_claims


def test_the_users_of_a_lost_client_lose_the_requests_that_they_had_sent() -> None:
    load = Load(users(6), 60, killed=[0])
    records = load.serve()
    own = [record for record in records if record.request_id % 2 == 0]
    assert len(lost(records)) == len(lost(own)) == 3
    assert len(records) - len(own) == 30
    assert len({record.request_id for record in records}) == len(records)


def test_a_load_without_any_client_left_is_a_failed_run() -> None:
    load = Load(scheduled(40), 40, killed=[0, 1])
    left = r"no client is left: the last one, client \d, was killed by SIGKILL"
    with pytest.raises(MeasurementError, match=left):
        load.serve()


def test_a_client_that_ends_before_the_load_is_a_failed_run() -> None:
    dispatch = Dispatch(RequestCycle([Request(0, (1,), 1)]), scheduled(1), Stop(requests=1))
    with model_servers(1) as (server,):
        backend = Endpoint(Endpoint.Options(url=server.url, clients=2))
        with backend.open(open_context("served:")) as opened:
            os.kill(pids(opened.clients)[0], signal.SIGKILL)
            with pytest.raises(MeasurementError, match="client 0 was killed by SIGKILL before"):
                opened.calibrate(dispatch)


def test_a_client_that_cannot_start_says_how_it_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_pool, "MODULE", "llmbench.no_such_module")
    message = "client 0 exited with code 1 before it was ready"
    with model_servers(1) as (server,):
        opening = Endpoint(Endpoint.Options(url=server.url, clients=2)).open(
            open_context("served:")
        )
        with pytest.raises(MeasurementError, match=message):
            opening.__enter__()


def test_each_client_measures_its_own_overhead() -> None:
    pool = [Request(n, (1, 2), 3, text=f"p{n}") for n in range(8)]
    dispatch = Dispatch(RequestCycle(pool), scheduled(8, rate=200.0), Stop(requests=8))
    with model_servers(1) as (server,):
        backend = Endpoint(Endpoint.Options(url=server.url, clients=2))
        with backend.open(open_context("served:")) as opened:
            opened.calibrate(dispatch)
            client = opened.report().client
        assert server.prompts == []
    assert client["floor_core_share"] is not None
    assert client["floor_ttft_p99"] is not None
    assert client["round_trip"] is not None
