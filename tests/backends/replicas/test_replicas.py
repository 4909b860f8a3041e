"""Replicas in real processes: a load is balanced among them, and survives the loss of one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from llmbench.backends.replicas import Replicated, ReplicatedServer
from llmbench.backends.replicas.pool import Replica
from llmbench.errors import InputError, MeasurementError
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Arrivals, Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request, Turn
from llmbench.scenario.replicas import ReplicasOptions
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.testing import open_context

FAKE = {"kind": "fake", "clock": "real", "prefill": 0.004, "per_token": 0.002}
SPEC = {
    "name": "replicas",
    "model": "random:tiny",
    "workload": "synthetic",
    "load": "closed",
    "requests": 1,
}


def options(backend: Any) -> Any:
    return Scenario.model_validate({**SPEC, "backends": [backend]}).backends[0]


@contextmanager
def replicas(backend: Any = None, context: Any = None, **given: Any) -> Iterator[ReplicatedServer]:
    replicated = Replicated(options(backend or FAKE), ReplicasOptions(**{"count": 2, **given}))
    with replicated.open(context or open_context()) as server:
        yield server


def dispatch(requests: Sequence[Request], arrivals: Arrivals | None = None) -> Dispatch:
    due = arrivals or Scheduled(np.linspace(0, 0.02, len(requests)))
    count = len(requests) + sum(len(request.turns) for request in requests)
    return Dispatch(RequestCycle(requests), due, Stop(requests=count))


def users(count: int) -> Arrivals:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


def serve(server: ReplicatedServer, load: Dispatch) -> list[Record]:
    records = server.serve(load, server.new_clock(), lambda: None)
    return sorted(records, key=lambda record: record.request_id)


def pool(count: int, tokens: int = 3, **fields: Any) -> list[Request]:
    return [Request(number, (1, 2), tokens, **fields) for number in range(count)]


# -- a load ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ReplicatedServer]:
    with replicas(context=open_context(keep_outputs=True), balance="affinity") as opened:
        yield opened


def test_all_requests_are_served_and_know_their_replica(server: ReplicatedServer) -> None:
    records = serve(server, dispatch(pool(12)))
    assert [record.request_id for record in records] == list(range(12))
    assert [record.finish for record in records] == ["length"] * 12
    assert {record.replica for record in records} <= {0, 1}
    for record in records:
        assert record.sent is not None
        assert record.started is not None
        assert record.due <= record.sent <= record.started <= record.token_times[0]
        assert record.output_ids is not None
        assert len(record.output_ids) == record.output_tokens == 3


def test_a_next_turn_gets_the_answer_and_stays_on_its_replica(server: ReplicatedServer) -> None:
    turn = Turn((9,), 2, 0.0)
    sessions = [Request(n, (1, 2), 3, turns=(turn, turn)) for n in range(4)]
    records = serve(server, dispatch(sessions))
    assert [record.prompt_tokens for record in records] == [2, 6, 9] * 4
    by_session = {(record.session, record.replica) for record in records}
    assert len(by_session) == 4
    assert len({replica for _, replica in by_session}) == 2


def test_a_closed_loop_goes_on_until_its_requests_have_been_served(
    server: ReplicatedServer,
) -> None:
    load = dispatch(pool(20), users(4))
    assert len(serve(server, load)) == 20
    assert load.completed == 20
    assert load.progress().output_tokens == 60


def test_a_user_gives_up_on_a_replica(server: ReplicatedServer) -> None:
    impatient = pool(4, tokens=1000, patience=Patience(after=0.5))
    records = serve(server, dispatch(impatient))
    assert [record.finish for record in records] == ["abandoned"] * 4
    assert all(record.abandoned_at == pytest.approx(record.due + 0.5) for record in records)


def test_settings_tell_of_the_replicas_and_counts_are_sums(server: ReplicatedServer) -> None:
    serve(server, dispatch(pool(2)))
    report = server.report()
    own = {key: report.effective[key] for key in ("replicas", "balance", "clock")}
    assert own == {"replicas": 2, "balance": "affinity", "clock": "real"}
    assert report.requested == report.effective
    assert report.cold_start == {"load": 0.0}


def test_each_replica_is_pinned_to_its_cores(server: ReplicatedServer) -> None:
    serve(server, dispatch(pool(2)))
    cores = server.report().effective["cores"]
    pinned = [psutil.Process(replica.child.pid).cpu_affinity() for replica in server.replicas]
    assert pinned == cores


def test_the_replicas_are_descendants_of_the_process_that_collectors_watch(
    server: ReplicatedServer,
) -> None:
    descendants = {process.pid for process in psutil.Process(server.pid).children(recursive=True)}
    assert {replica.child.pid for replica in server.replicas} <= descendants


# -- losses ----------------------------------------------------------------------------------------


@contextmanager
def killing(server: ReplicatedServer, index: int) -> Iterator[None]:
    """Kill a replica as soon as it has two requests in flight."""
    thread = threading.Thread(target=kill, args=(server.replicas[index],))
    thread.start()
    yield
    thread.join()


def kill(replica: Replica) -> None:
    while len(replica.in_flight) < 2:
        time.sleep(0.001)
    os.kill(replica.child.pid, signal.SIGKILL)


def test_the_requests_of_a_lost_replica_fail_and_the_others_go_on_until_the_last_is_lost() -> None:
    left = r"no replica is left: the last one, 0, was killed by SIGKILL"
    with replicas() as server:
        with killing(server, 1):
            records = serve(server, dispatch(pool(8, tokens=100), users(4)))
        (caveat,) = [c for c in server.report().caveats if c.kind == "replica-lost"]
        with killing(server, 0), pytest.raises(MeasurementError, match=left):
            serve(server, dispatch(pool(8, tokens=500)))
    lost = [record for record in records if record.error_kind == "replica-lost"]
    assert len(records) == 8
    assert Counter(record.replica for record in lost) == {1: 2}
    assert {record.finish for record in records} == {"length", "error"}
    assert {record.replica for record in records[-2:]} == {0}
    assert caveat.parameters["requests"] == 2
    assert caveat.message.startswith("Replica 1 was killed by SIGKILL after ")
    assert lost[0].error_message == "replica 1 was killed by SIGKILL while it had this request"


def test_a_replica_that_cannot_open_its_backend_says_why() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = "{}:{}".format(*closed.getsockname())
    silent = {"kind": "endpoint", "url": f"http://{address}"}
    with (
        pytest.raises(InputError, match="Connection refused; start the server"),
        replicas(silent, open_context("served:a"), count=1),
    ):
        pass


SCRIPT = """
import sys, time
sys.path.insert(0, sys.argv[1])
from test_replicas import replicas
with replicas() as server:
    print(*(replica.child.pid for replica in server.replicas), flush=True)
    time.sleep(60)
"""


def test_no_replica_outlives_the_process_that_started_it() -> None:
    folder = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, folder], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pids = list(map(int, starter.stdout.readline().split()))
        alive = [psutil.pid_exists(pid) for pid in pids]
        starter.kill()
    assert alive == [True, True]
    _, left = psutil.wait_procs([psutil.Process(p) for p in pids if psutil.pid_exists(p)], 20)
    assert left == []


# -- answers ---------------------------------------------------------------------------------------


def test_answers_of_a_load_are_kept_and_given_again_alone() -> None:
    context = open_context(keep_answers=True, slots=1)
    with replicas({"kind": "eager"}, context, balance="least-loaded") as server:
        requests = [Request(n, (n + 1, 2), 4) for n in range(4)]
        records = serve(server, dispatch(requests))
        alone = server.answer_alone(requests)
        answers = server.answers()
        report = server.report()
    assert [record.output_ids for record in records] == [None] * 4
    assert [answers[request.id] for request in requests] == alone
    assert {record.replica for record in records} == {0, 1}
    assert report.effective["threads"] == 1
    assert report.model_costs is None
    assert report.self_check["result"] in ("equal", "undecided")
