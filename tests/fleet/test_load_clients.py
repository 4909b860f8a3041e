"""Load clients on the nodes of a real Ray cluster send one schedule by one clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from model_servers import model_servers

from llmbench.backends import BackendReport
from llmbench.backends.endpoint import Endpoint
from llmbench.loads.dispatch import Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.testing import open_context

pytestmark = pytest.mark.xdist_group("ray")

RATE = 20.0


@pytest.fixture(autouse=True)
def short_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "lead_seconds_of_remote_clients", 0.2)


def load(count: int) -> Dispatch:
    pool = [Request(n, (1, 2), 3, text=f"p{n}") for n in range(count)]
    return Dispatch(RequestCycle(pool), Scheduled(np.arange(count) / RATE), Stop(requests=count))


def served(
    url: str, clients: Any, dispatch: Dispatch, on_progress: Callable[[], None] = lambda: None
) -> tuple[list[Record], BackendReport]:
    backend = Endpoint(Endpoint.Options(url=url, clients=clients))
    with backend.open(open_context("served:")) as server:
        server.calibrate(load(5))
        records = server.serve(dispatch, server.new_clock(), on_progress)
        return sorted(records, key=lambda record: record.request_id), server.report()


def test_clients_on_nodes_send_the_same_requests_as_one_client_here(cluster_address: str) -> None:
    with model_servers(1) as (server,):
        alone, _ = served(server.url, 1, load(12))
        records, report = served(server.url, {"ray": 3, "address": cluster_address}, load(12))
    assert [(r.request_id, r.due, r.phase, r.finish, r.output_tokens) for r in records] == [
        (r.request_id, r.due, r.phase, r.finish, r.output_tokens) for r in alone
    ]
    offsets = report.facts["clock_offsets"]
    assert [offset["client"] for offset in offsets] == [0, 1, 2]
    assert {offset["node"] for offset in offsets} == {"ant", "bee", "cat"}
    assert all(abs(o["offset_seconds"]) <= o["error_bound_seconds"] for o in offsets)
    assert report.client["core_share"]
    assert report.client["floor_core_share"]
