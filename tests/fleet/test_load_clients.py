"""Load clients on the nodes of a real Ray cluster send one schedule by one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_servers import model_servers
from ray.cluster_utils import Cluster

from llmbench.backends import BackendReport
from llmbench.backends.endpoint import Endpoint
from llmbench.errors import InputError
from llmbench.loads.dispatch import Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.schema import ModelOptions
from llmbench.testing import open_context

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


def lost(records: list[Record]) -> list[Record]:
    return [record for record in records if record.error_kind == "client-lost"]


@contextmanager
def cluster_of_two() -> Iterator[Cluster]:
    """A cluster whose last node can be killed; its head has a CPU, too."""
    node = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_name": "eel"})
    try:
        cluster.add_node(num_cpus=1, node_name="fox")
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_a_node_that_is_killed_loses_only_its_requests_without_an_answer(ray_folder: Path) -> None:
    assert ray_folder.is_dir()
    with cluster_of_two() as cluster, model_servers(1) as (server,):
        *_, node = cluster.worker_nodes
        dispatch, left = load(60), [node]

        def kill() -> None:
            if left and dispatch.completed >= 20:
                cluster.remove_node(left.pop(), allow_graceful=False)

        clients = {"ray": 2, "address": cluster.address}
        records, report = served(server.url, clients, dispatch, kill)
    on_fox = next(o["client"] for o in report.facts["clock_offsets"] if o["node"] == "fox")
    own, others = records[on_fox::2], records[1 - on_fox :: 2]
    assert [record.request_id for record in records] == list(range(60))
    assert all(record.succeeded for record in others)
    assert {record.succeeded for record in own} == {True, False}
    assert len(lost(own)) == sum(not record.succeeded for record in records)
    (caveat,) = [caveat for caveat in report.caveats if caveat.kind == "client-lost"]
    assert caveat.parameters["requests"] == len(lost(own))
    reason = "was lost with its actor or node after "
    assert caveat.message.startswith(f"client {on_fox} on node fox {reason}")
    drifts = [offset["drift_ppm"] for offset in report.facts["clock_offsets"]]
    assert drifts[on_fox] is None
    assert drifts[1 - on_fox] is not None


def test_more_clients_than_cpus_are_refused_at_once(cluster_address: str) -> None:
    message = "12 clients need a CPU each, and the nodes of the cluster have 8; lower it"
    with model_servers(1) as (server,), pytest.raises(InputError, match=message):
        served(server.url, {"ray": 12, "address": cluster_address}, load(1))


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmbench.plugins.find_spec", lambda _: None)
    options = Endpoint.Options.model_validate({"url": "http://127.0.0.1:9", "clients": {"ray": 2}})
    with pytest.raises(InputError, match=r"client host 'ray' needs ray; .* 'llmbench\[ray\]'"):
        Endpoint(options).probe(ModelOptions(source="served:"), {})


@pytest.mark.parametrize(
    ("address", "message"),
    [("nonsense here", "address nonsense here: "), ("127.0.0.1:1", "address 127.0.0.1:1: ")],
)
def test_a_cluster_that_cannot_be_reached_is_one_message(address: str, message: str) -> None:
    with (
        model_servers(1) as (server,),
        pytest.raises(InputError, match=f"endpoint: clients: {message}"),
    ):
        served(server.url, {"ray": 2, "address": address}, load(1))
