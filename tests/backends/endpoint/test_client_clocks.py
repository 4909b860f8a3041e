"""The times of clients on other machines are brought to the clock of the load."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytest
from model_servers import model_servers
from skewed_client import Skew, SkewedClient, SkewedClients

from llmbench.backends import BackendReport
from llmbench.backends.endpoint import Endpoint, client_pool
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.client_clocks import Correction, SameClock
from llmbench.backends.endpoint.client_messages import Ready
from llmbench.errors import InputError
from llmbench.fleet.clock_offsets import Offset, RemoteClock, RoundTrip
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Arrivals, Dispatch, LoadSummary, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.testing import open_context

LOAD = MonotonicClock(100.0)
SCHEDULED = np.array([0.0, 8.0, 16.0])


def never() -> RoundTrip:
    raise AssertionError("both comparisons are known")


# It gains one second in four between 100 s and 164 s of this machine: 80 instead of 64 seconds.
FAST = RemoteClock(never, Offset(100.0, 1000.0, 0.25), Offset(164.0, 1016.0, 0.5))


def test_all_times_of_an_answer_are_corrected_but_its_scheduled_due_time() -> None:
    answer = Answer(Request(0, (1,), 3), 8.0, begun=10.0, stamps=[20.0, 40.0], first_content=40.0)
    answer.abandoned_at = 80.0
    Correction(FAST, LOAD, SCHEDULED).answer(answer)
    assert (answer.due, answer.begun, answer.stamps) == (8.0, 8.0, [16.0, 32.0])
    assert (answer.first_content, answer.abandoned_at) == (32.0, 64.0)


def test_a_due_time_that_follows_from_an_answer_is_corrected() -> None:
    answer = Answer(Request(0, (1,), 3), 20.0, begun=20.0)
    Correction(FAST, LOAD, SCHEDULED).answer(answer)
    assert (answer.due, answer.begun) == (16.0, 16.0)


def test_due_times_of_requests_that_were_not_sent_are_corrected() -> None:
    request = Request(0, (1,), 3)
    summary = LoadSummary(dropped=[(request, 16.0)], given_up=[(request, 20.0)])
    Correction(FAST, LOAD, SCHEDULED).summary(summary)
    assert summary.dropped == [(request, 16.0)]
    assert summary.given_up == [(request, 16.0)]


def test_the_client_reads_the_agreed_start_on_its_own_clock() -> None:
    assert FAST.remote(LOAD).origin == 1100.0
    assert SameClock().remote(LOAD) is LOAD


# -- real clients with skewed clocks ---------------------------------------------------------------


def users(count: int) -> Arrivals:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


class Measured:
    """A load of twelve requests that clients with skewed clocks sent."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, skews: Sequence[Skew], arrivals: Arrivals
    ) -> None:
        monkeypatch.setattr(client_pool, "host_of", lambda _: SkewedClients(skews))
        pool = [Request(n, (1, 2), 3, text=f"p{n}") for n in range(12)]
        dispatch = Dispatch(RequestCycle(pool), arrivals, Stop(requests=12))
        with model_servers(1, delay=0.002) as (server,):
            backend = Endpoint(Endpoint.Options(url=server.url, clients=len(skews)))
            with backend.open(open_context("served:")) as opened:
                clock = opened.new_clock()
                records = opened.serve(dispatch, clock, lambda: None)
                self.seconds = clock.now()
                self.report: BackendReport = opened.report()
        self.records: list[Record] = sorted(records, key=lambda record: record.request_id)

    @property
    def offsets(self) -> list[dict[str, Any]]:
        offsets: list[dict[str, Any]] = self.report.facts["clock_offsets"]
        return offsets


SKEWS = (Skew(1000.0), Skew(-250.0, drift=400e-6))


@pytest.mark.parametrize("arrivals", [Scheduled(np.arange(12) / 20), users(4)])
def test_clients_whose_clocks_differ_start_at_one_moment_and_record_by_one_clock(
    monkeypatch: pytest.MonkeyPatch, arrivals: Arrivals
) -> None:
    measured = Measured(monkeypatch, SKEWS, arrivals)
    assert [record.request_id for record in measured.records] == list(range(12))
    for record in measured.records:
        times = (record.sent or 0.0, *record.token_times)
        assert list(times) == sorted(times)
        assert record.due - 0.001 <= times[0]  # one gains 0.4 ms per second
        assert times[-1] <= measured.seconds


def test_scheduled_due_times_are_those_of_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Measured(monkeypatch, SKEWS, Scheduled(np.arange(12) / 20))
    assert [record.due for record in measured.records] == list(np.arange(12) / 20)


def test_the_facts_have_each_offset_and_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    here = time.monotonic()
    first, second = Measured(monkeypatch, SKEWS, Scheduled(np.arange(12) / 20)).offsets
    assert (first["client"], first["node"]) == (0, "node-0")
    assert first["offset_seconds"] == pytest.approx(1000.0, abs=1e-9)
    assert first["drift_ppm"] == pytest.approx(0.0, abs=0.01)
    assert second["offset_seconds"] == pytest.approx(-250.0 + 400e-6 * here, abs=0.1)
    assert second["drift_ppm"] == pytest.approx(400.0, abs=0.01)
    assert 0 < second["error_bound_seconds"] < 0.01


def test_an_error_bound_that_is_large_against_the_ttft_is_a_caveat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slow(skew: Skew) -> RoundTrip:
        now = time.monotonic()
        return RoundTrip(now - 1, skew.reading(now), now + 1)

    near = Measured(monkeypatch, SKEWS, Scheduled(np.arange(12) / 20))
    assert "clock-error" not in {caveat.kind for caveat in near.report.caveats}
    monkeypatch.setattr(Skew, "round_trip", slow)
    far = Measured(monkeypatch, SKEWS, Scheduled(np.arange(12) / 20))
    (caveat,) = [caveat for caveat in far.report.caveats if caveat.kind == "clock-error"]
    assert "with an error of up to 1,000.00 ms" in caveat.message


def test_a_client_that_cannot_connect_to_the_server_says_so() -> None:
    target = Endpoint.Options(url="http://127.0.0.1:9").target(Address(("127.0.0.1",), 9))
    client = SkewedClient("node-0", cast("Any", None), FAST)
    member = client_pool.Member(0, client, Ready("precise", (None,)))
    with pytest.raises(InputError, match="client 0 on node node-0 cannot connect to http://127"):
        member.check_reach(target)
