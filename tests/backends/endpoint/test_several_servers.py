"""Loads on several servers, and classes with their own, over real sockets."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from model_servers import ModelServer, model_servers, server_process

from llmbench.backends import BackendReport
from llmbench.backends.endpoint import Endpoint
from llmbench.errors import InputError
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Arrivals, Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request, Turn
from llmbench.scenario.rng import stream
from llmbench.scenario.route import Route
from llmbench.scenario.schema import ModelOptions
from llmbench.testing import open_context

Served = tuple[list[Record], BackendReport]


def pool(count: int, names: Sequence[str | None] = (None,), **fields: Any) -> list[Request]:
    return [
        Request(n, (1, 2), 3, text=f"p{n}", request_class=names[n % len(names)], **fields)
        for n in range(count)
    ]


def users(count: int) -> Arrivals:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


def served(
    urls: str | list[str],
    requests: list[Request],
    arrivals: Arrivals | None = None,
    routes: Mapping[str, Route] | None = None,
    **options: Any,
) -> Served:
    """Serve the requests, by default all at once; return the records by request."""
    backend = Endpoint(Endpoint.Options(url=urls, **options))
    count = len(requests) + sum(len(request.turns) for request in requests)
    due = arrivals or Scheduled(np.zeros(len(requests)))
    dispatch = Dispatch(RequestCycle(requests), due, Stop(requests=count))
    with backend.open(open_context("served:", routes=routes or {}, seed=7)) as opened:
        records = opened.serve(dispatch, opened.new_clock(), lambda: None)
        return sorted(records, key=lambda record: record.request_id), opened.report()


def urls_of(servers: list[ModelServer]) -> list[str]:
    return [server.url for server in servers]


# -- several servers -------------------------------------------------------------------------------


def test_requests_go_round_the_servers() -> None:
    with model_servers(3) as servers:
        records, report = served(urls_of(servers), pool(7))
    assert [sorted(server.prompts) for server in servers] == [
        ["p0", "p3", "p6"], ["p1", "p4"], ["p2", "p5"],
    ]  # fmt: skip
    assert [record.url for record in records[:3]] == [f"{url}/v1" for url in urls_of(servers)]
    assert report.effective["url"] == [f"{url}/v1" for url in urls_of(servers)]
    assert report.effective["balance"] == "round-robin"


def test_each_server_is_asked_by_its_own_name() -> None:
    with model_servers(2) as servers:
        served([servers[0].url, f"{servers[1].url}/other/v1"], pool(2))
    (first,), (second,) = (server.received for server in servers)
    assert (first["path"], second["path"]) == ("/v1/chat/completions", "/other/v1/chat/completions")
    hosts = [request["headers"]["Host"] for request in (first, second)]
    assert hosts == [server.url.removeprefix("http://") for server in servers]


def test_a_record_has_no_url_if_there_is_one_server() -> None:
    with model_servers(1) as (server,):
        (record,), report = served(server.url, pool(1))
        (listed,), _ = served([server.url], pool(1))
    assert record.url is listed.url is None
    assert report.effective["url"] == f"{server.url}/v1"
    assert "balance" not in report.effective


@pytest.mark.parametrize("policy", ["round-robin", "least-loaded"])
def test_client_processes_share_several_servers(policy: str) -> None:
    with model_servers(2) as servers:
        records, _ = served(urls_of(servers), pool(24), clients=2, balance=policy)
    assert [record.error_kind for record in records] == [None] * 24
    assert {record.url: 12 for record in records} == Counter(record.url for record in records)
    assert [len(server.received) for server in servers] == [12, 12]


def test_a_slow_server_gets_fewer_requests_by_least_loaded() -> None:
    with model_servers(2) as servers:
        servers[0].delay = 0.2
        served(urls_of(servers), pool(30), users(2), balance="least-loaded")
    slow, fast = (len(server.received) for server in servers)
    assert slow < 10
    assert slow + fast == 30


@pytest.mark.parametrize("clients", [1, 2])
def test_the_turns_of_a_session_go_to_one_server(clients: int) -> None:
    turn = Turn((3,), 2, 0.0, text="more")
    sessions = [Request(n, (1,), 2, text=f"s{n}", turns=(turn, turn)) for n in range(6)]
    with model_servers(3) as servers:
        records, _ = served(
            urls_of(servers), sessions, users(2), balance="affinity", clients=clients
        )
    by_session = {record.session: set[str | None]() for record in records}
    for record in records:
        by_session[record.session].add(record.url)
    assert all(len(urls) == 1 for urls in by_session.values())
    assert len(records) == 18
    assert {record.url for record in records} == {f"{url}/v1" for url in urls_of(servers)}


def test_the_session_is_in_a_header() -> None:
    turn = Turn((3,), 2, 0.0, text="more")
    sessions = [Request(n, (1,), 2, text=f"s{n}", turns=(turn,)) for n in range(2)]
    with model_servers(1) as (server,):
        served(server.url, sessions, users(1), session_header="X-Session-Id")
        served(server.url, pool(1), session_header="X-Session-Id")
    sent = [request["headers"].get("X-Session-Id") for request in server.received]
    assert sent == ["7-0", "7-0", "7-1", "7-1", None]


def test_connections_are_kept_per_server() -> None:
    with model_servers(2) as servers:
        records, report = served(urls_of(servers), pool(8), users(1))
    assert report.counters["connections"] == 2
    assert [record.connect_seconds is None for record in records] == [False, False] + [True] * 6


# -- a server that dies ----------------------------------------------------------------------------


def test_requests_of_a_killed_server_fail_and_later_ones_go_to_the_other() -> None:
    with model_servers(1) as (alive,), server_process(delay=0.02) as (process, killed):
        backend = Endpoint(Endpoint.Options(url=[alive.url, killed], back_off=3600.0))
        dispatch = Dispatch(RequestCycle(pool(40)), users(2), Stop(requests=40))
        with backend.open(open_context("served:")) as opened:

            def kill_after_eight() -> None:
                if dispatch.completed == 8:
                    process.send_signal(signal.SIGKILL)

            records = opened.serve(dispatch, opened.new_clock(), kill_after_eight)
            report = opened.report()
    failed = [record for record in records if record.error_kind]
    refused = [record for record in failed if record.error_kind == "connect"]
    assert len(records) == 40
    assert {record.error_kind for record in failed} <= {"connect", "reset", "truncated"}
    assert {record.url for record in failed} == {f"{killed}/v1"}
    assert len(refused) in (1, 2)  # of the two users, before they know
    (caveat,) = (caveat for caveat in report.caveats if caveat.kind == "server-refused")
    assert caveat.parameters == {
        "url": f"{killed}/v1", "refusals": len(refused), "back_off": 3600.0,
    }  # fmt: skip
    assert f"{killed}/v1 refused {len(refused)} connection(s)" in caveat.message


def test_a_server_that_comes_back_gets_requests_again() -> None:
    with model_servers(1) as (alive,), server_process() as (process, url):
        port = int(url.rpartition(":")[2])
        backend = Endpoint(Endpoint.Options(url=[alive.url, url], back_off=0.1))
        with backend.open(open_context("served:")) as opened:
            process.kill()
            process.wait()
            dispatch = Dispatch(
                RequestCycle(pool(60)), Scheduled(np.arange(60) / 30), Stop(requests=60)
            )
            with server_process(port=port) as (_, again):
                assert again == url
                # (it may take a while to start, in which its requests fail)
                records = opened.serve(dispatch, opened.new_clock(), lambda: None)
    answered = Counter(record.url for record in records if record.error_kind is None)
    assert answered[f"{url}/v1"] >= 20


def test_a_retried_request_goes_to_another_server() -> None:
    with model_servers(1) as (alive,), server_process() as (process, dead):
        backend = Endpoint(Endpoint.Options(url=[dead, alive.url], retries=1, back_off=60.0))
        with backend.open(open_context("served:")) as opened:
            process.kill()
            process.wait()
            dispatch = Dispatch(pool(2), Scheduled(np.zeros(2)), Stop(requests=2))
            records = opened.serve(dispatch, opened.new_clock(), lambda: None)
    assert [(r.error_kind, r.url) for r in records] == [(None, f"{alive.url}/v1")] * 2
    assert sorted(record.retries for record in records) == [0, 1]


def test_nothing_hangs_when_all_servers_are_dead() -> None:
    with server_process() as (one, first), server_process() as (other, second):
        backend = Endpoint(Endpoint.Options(url=[first, second]))
        with backend.open(open_context("served:")) as opened:
            for process in (one, other):
                process.kill()
                process.wait()
            dispatch = Dispatch(pool(10), Scheduled(np.zeros(10)), Stop(requests=10))
            records = opened.serve(dispatch, opened.new_clock(), lambda: None)
    assert Counter(record.error_kind for record in records) == {"connect": 10}
    assert {record.url for record in records} == {f"{first}/v1", f"{second}/v1"}


# -- before the load -------------------------------------------------------------------------------


def test_every_server_must_be_there_at_the_start() -> None:
    with (
        model_servers(1) as (server,),
        pytest.raises(InputError, match=r"127\.0\.0\.1:1/v1/models"),
    ):
        served([server.url, "http://127.0.0.1:1"], pool(1))


def test_every_server_must_have_the_model() -> None:
    with model_servers(2) as (one, other):
        other.models = ("b",)
        with pytest.raises(InputError, match=f"{other.url}/v1: the server has no model 'a'"):
            served([one.url, other.url], pool(1))


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "list of at least one"),
        (["http://a", "http://a/v1"], "listed twice"),
        (["http://a", "nonsense"], "expected http"),
        (["http://a", "http://me:hush@b"], "no credentials"),
        ("http://a, http://b", "write several URLs as a list"),
    ],
)
def test_a_list_of_urls_that_is_not_valid_is_refused(urls: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Endpoint.Options(url=urls)


# -- classes ---------------------------------------------------------------------------------------


def routes(**classes: dict[str, Any]) -> dict[str, Route]:
    return {name: Route.model_validate(fields) for name, fields in classes.items()}


def test_a_class_has_its_own_model_headers_and_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANT_KEY", "sk-canary-0123456789")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-other-0123456789")
    own = routes(batch={
        "headers": {"authorization": "Bearer ${TENANT_KEY}", "X-Tenant": "batch"},
        "body": {"min_tokens": 3, "ignore_eos": None}, "priority": 9,
    })  # fmt: skip
    with model_servers(1) as (server,):
        records, report = served(server.url, pool(2, [None, "batch"]), users(1), routes=own)
    chat, batch = server.received
    assert chat["headers"]["Authorization"] == "Bearer sk-other-0123456789"
    assert batch["headers"]["authorization"] == "Bearer sk-canary-0123456789"
    assert "Authorization" not in batch["headers"]
    assert batch["headers"]["X-Tenant"] == "batch"
    assert (batch["min_tokens"], batch["priority"]) == (3, 9)
    assert "ignore_eos" not in batch
    assert chat["ignore_eos"]
    assert "priority" not in chat
    assert "canary" not in repr((records, report))


def test_requests_name_the_models_that_were_drawn() -> None:
    requests = [
        Request(n, (1,), 2, text="p", request_class="c", model="ab"[n % 2]) for n in range(4)
    ]
    own = routes(c={"model": {"uniform": ["a", "b"]}})
    with model_servers(1, "base", "a", "b") as (server,):
        records, _ = served(server.url, requests, users(1), routes=own)
    assert [request["model"] for request in server.received] == ["a", "b", "a", "b"]
    assert [record.model for record in records] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("clients", [1, 2])
def test_a_class_has_its_own_server(clients: int) -> None:
    requests = [
        Request(n, (1,), 2, text=f"p{n}", request_class=name, model=model)
        for n, (name, model) in enumerate([("chat", None), ("batch", "b")] * 4)
    ]
    with model_servers(1, "a") as (chat,), model_servers(1, "b") as (batch,):
        own = routes(batch={"model": "b", "url": batch.url})
        records, _ = served(chat.url, requests, routes=own, clients=clients)
    assert sorted(chat.prompts) == ["p0", "p2", "p4", "p6"]
    assert sorted(batch.prompts) == ["p1", "p3", "p5", "p7"]
    assert {(r.request_class, r.url) for r in records} == {
        ("chat", f"{chat.url}/v1"), ("batch", f"{batch.url}/v1"),
    }  # fmt: skip


def test_the_server_of_a_class_gets_no_credentials_of_the_backend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    with model_servers(2) as (own, foreign):
        classes = routes(far={"url": foreign.url, "headers": {"X-Tenant": "far"}})
        served(own.url, pool(2, [None, "far"]), routes=classes, headers={"X-Team": "bench"})
    assert own.received[0]["headers"]["X-Team"] == "bench"
    assert own.received[0]["headers"]["Authorization"] == "Bearer sk-canary-0123456789"
    headers = foreign.received[0]["headers"]
    assert headers["X-Tenant"] == "far"
    assert "canary" not in str(foreign.received)
    assert "X-Team" not in headers


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "c"}, "the server has no model 'c'"),
        ({"model": {"uniform": ["a", "d"]}}, "the server has no model 'd'"),
        ({"url": "http://127.0.0.1:1"}, "127.0.0.1:1/v1/models"),
        ({"body": {"max_tokens": 4}}, r"workload\.classes\.x\.body: has `max_tokens`"),
        ({"headers": {"X": "${NOT_SET_KEY}"}}, r"workload\.classes\.x\.headers: .*NOT_SET_KEY"),
        ({"body": {"x": "${NOT_SET_KEY}"}}, r"workload\.classes\.x\.body: .*NOT_SET_KEY"),
    ],
)
def test_what_a_class_cannot_have_is_an_input_error(fields: dict[str, Any], message: str) -> None:
    with model_servers(1) as (server,), pytest.raises(InputError, match=message):
        served(server.url, pool(1, ["x"]), routes=routes(x=fields))


def test_a_class_that_is_refused_is_found_before_the_first_run() -> None:
    model = ModelOptions(source="served:")
    with model_servers(1, "a", "b") as (server,):
        backend = Endpoint(Endpoint.Options(url=server.url))
        backend.probe(model, routes(x={"model": "b"}))
        assert sorted(request["model"] for request in server.received) == ["a", "b"]
        server.models = ("a",)
        with pytest.raises(InputError, match="no model 'b'"):
            backend.probe(model, routes(x={"model": "b"}))
