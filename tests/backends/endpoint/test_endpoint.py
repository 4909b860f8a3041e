"""The endpoint backend against real servers over real sockets."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import trustme

from llmbench.backends import BackendReport
from llmbench.backends.endpoint import Endpoint, client
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.client_messages import Job
from llmbench.backends.endpoint.conformance.wire import completion, done, event, usage
from llmbench.errors import InputError
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import UNLIMITED, Arrivals, Dispatch, Limit, LoadSummary, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Message, Request, Turn
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.testing import open_context

CANARY = "sk-canary-0123456789"
LENGTH_FIELDS = ("max_tokens", "max_completion_tokens", "n_predict")
DEFAULT_TOKENS = 5
REJECTION = json.dumps(
    {
        "error": {
            "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
        }
    }
).encode()


class Server(ThreadingHTTPServer):
    """Answers correctly, records requests, and can answer otherwise at first."""

    daemon_threads = True
    request_queue_size = 512  # a full queue drops connections, and TCP tries again after seconds

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        self.received: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.peers: set[tuple[str, int]] = set()
        self.first: list[tuple[int, dict[str, str]]] = []
        self.hang_up_after = 0
        self.rejected: str | None = None
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    answered = 0

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._send(200, b'{"data": [{"id": "llama"}]}', {"Content-Type": "application/json"})

    def do_POST(self) -> None:
        self.answered += 1
        if self.answered > self.server.hang_up_after > 0:
            self.close_connection = True
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append({"path": self.path, **body})
        time.sleep(self.server.delay)
        self.server.headers.append(dict(self.headers))
        self.server.peers.add(self.client_address)
        if self.server.first:
            status, fields = self.server.first.pop(0)
            self._send(
                status, json.dumps({"error": self.headers["Authorization"]}).encode(), fields
            )
        elif self.server.rejected in body:
            self._send(400, REJECTION, {"Content-Type": "application/json"})
        elif body["stream"]:
            tokens = next((body[name] for name in LENGTH_FIELDS if name in body), DEFAULT_TOKENS)
            self._send(200, _answer(tokens), {"Content-Type": "text/event-stream"})
        else:
            self._send(200, completion(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**fields, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _answer(tokens: int) -> bytes:
    chunk = event({"choices": [{"delta": {"content": "a"}}]})
    return chunk * tokens + event(usage(tokens)) + done()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def users(count: int) -> Arrivals:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


Serve = Callable[..., tuple[list[Record], BackendReport]]


@pytest.fixture
def summaries() -> list[LoadSummary]:
    """How each load ended."""
    return []


@pytest.fixture
def serve(server: Server, summaries: list[LoadSummary]) -> Serve:
    """Serves requests, one by default, with options of the backend."""

    def run(
        arrivals: Arrivals | None = None,
        count: int = 1,
        *,
        keep_outputs: bool = False,
        pool: Sequence[Request] | None = None,
        limit: Limit = UNLIMITED,
        stop: Stop | None = None,
        **options: Any,
    ) -> tuple[list[Record], BackendReport]:
        requests = pool or [Request(n, (1, 2), 3, text=f"prompt {n}") for n in range(count)]
        due = arrivals or Scheduled(np.zeros(count))
        dispatch = Dispatch(RequestCycle(requests), due, stop or Stop(requests=count), limit)
        context = open_context("served:", keep_outputs=keep_outputs)
        backend = Endpoint(Endpoint.Options(**{"url": server.url, **options}))
        with backend.open(context) as opened:
            records = opened.serve(dispatch, opened.new_clock(), lambda: None)
            summaries.append(dispatch.summary)
            return sorted(records, key=lambda record: record.request_id), opened.report()

    return run


def test_a_chat_request_has_the_prompt_and_forces_the_length(serve: Serve, server: Server) -> None:
    serve()
    assert server.received == [
        {
            "path": "/v1/chat/completions",
            "model": "llama",
            "messages": [{"role": "user", "content": "prompt 0"}],
            "max_tokens": 3,
            "temperature": 0.0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_a_completion_request_has_the_prompt_as_text(serve: Serve, server: Server) -> None:
    serve(api="completions")
    assert server.received[0]["path"] == "/v1/completions"
    assert server.received[0]["prompt"] == "prompt 0"


def test_fields_of_the_body_are_added_or_removed(serve: Serve, server: Server) -> None:
    serve(body={"ignore_eos": None, "min_tokens": 3})
    assert "ignore_eos" not in server.received[0]
    assert server.received[0]["min_tokens"] == 3


def test_token_counts_of_the_server_are_used(serve: Serve) -> None:
    (record,), report = serve()
    assert (record.prompt_tokens, record.output_tokens, record.finish) == (5, 3, "length")
    assert report.counters["answers_counted_by_server"] == 1


def test_a_running_server_on_this_machine_is_not_monitored(serve: Serve) -> None:
    _, report = serve()
    assert not report.is_monitored


def test_an_answer_need_not_be_streamed(serve: Serve) -> None:
    (record,), _ = serve(stream=False)
    assert (record.token_counts, record.finish) == ((8,), "length")


def test_requests_are_sent_when_they_are_due_and_not_before(serve: Serve) -> None:
    records, _ = serve(Scheduled(np.array([0.0, 0.05, 0.1])), 3)
    assert [record.due for record in records] == [0.0, 0.05, 0.1]
    assert all((record.sent or 0.0) >= record.due for record in records)


def test_the_clock_starts_before_the_first_due_time(server: Server) -> None:
    with Endpoint(Endpoint.Options(url=server.url)).open(open_context("served:")) as opened:
        assert opened.new_clock().now() < 0


def test_a_connection_is_reused(serve: Serve, server: Server) -> None:
    records, report = serve(users(1), 3)
    assert len(server.peers) == report.counters["connections"] == 1
    assert [record.connect_seconds is None for record in records] == [False, True, True]


def test_a_request_on_a_stale_connection_is_sent_again(serve: Serve, server: Server) -> None:
    server.hang_up_after = 1  # like a server that restarts a worker, without notice
    records, report = serve(users(1), 3)
    assert [record.error_kind for record in records] == [None] * 3
    assert report.counters["stale_connections"] == 2


def test_every_request_can_have_its_own_connection(serve: Serve, server: Server) -> None:
    serve(users(1), 3, connections="fresh")
    assert len(server.peers) == 3


def test_a_connection_idle_for_too_long_is_not_reused(serve: Serve, server: Server) -> None:
    serve(users(1), 2, max_idle=1e-9)
    assert len(server.peers) == 2


def test_a_closed_loop_sends_again_after_an_answer(serve: Serve, server: Server) -> None:
    records, _ = serve(users(3), 20)
    assert len(records) == 20
    assert len(server.peers) <= 3


def test_the_clients_of_a_started_server_have_the_same_target() -> None:
    server = {"preset": "llama-cpp-python"}
    started = Endpoint.Options.model_validate({"server": server, "clients": 2})
    options = started.model_copy(update={"url": "http://127.0.0.1:9"})
    target = options.target(Address(("127.0.0.1",), 9))
    job = Job.of(options, target, 2)
    assert msgspec.json.decode(msgspec.json.encode(job), type=Job).target() == target


def test_client_processes_take_the_options_of_a_scenario() -> None:
    spec = {
        "name": "x",
        "model": "random:tiny",
        "workload": "synthetic",
        "load": "closed",
        "requests": 1,
        "backends": [
            {"kind": "endpoint", "name": "mine", "url": "http://127.0.0.1:9", "clients": 2}
        ],
    }
    (options,) = Scenario.model_validate(spec).backends
    target = options.target(Address(("127.0.0.1",), 9))
    assert Job.of(options, target, 2).target() == target


@pytest.mark.parametrize("arrivals", [Scheduled(np.arange(12) / 50), users(4)])
def test_several_clients_send_each_request_once_by_one_clock(
    serve: Serve, server: Server, arrivals: Arrivals
) -> None:
    records, report = serve(arrivals, 12, clients=2)
    assert [record.request_id for record in records] == list(range(12))
    assert sorted(body["messages"][0]["content"] for body in server.received) == sorted(
        f"prompt {number}" for number in range(12)
    )
    if isinstance(arrivals, Scheduled):
        assert [record.due for record in records] == arrivals.offsets.tolist()
    assert all((record.sent or 0.0) >= record.due for record in records)
    assert report.client["core_share"]


def test_clients_without_requests_stay_idle(serve: Serve) -> None:
    records, _ = serve(users(1), 4, clients=2)
    assert [record.request_id for record in records] == [0, 1, 2, 3]


def test_a_rejected_request_is_retried_if_requested(serve: Serve, server: Server) -> None:
    server.first = [(503, {}), (429, {"Retry-After": "0.2"})]
    (record,), report = serve(retries=2)
    assert (record.error_kind, record.retries, report.counters["retries"]) == (None, 2, 2)
    assert record.token_times[0] - (record.sent or 0.0) > 0.25  # the delay counts as latency


def test_nothing_is_retried_by_default(serve: Serve, server: Server) -> None:
    server.first = [(503, {})]
    (record,), _ = serve()
    assert (record.error_kind, len(server.received)) == ("http-503", 1)


@pytest.mark.parametrize("retry_after", ["3600", "inf", "1e308", "99999999999999999999"])
def test_a_retry_after_the_time_limits_is_not_waited_for(
    serve: Serve, server: Server, retry_after: str
) -> None:
    server.first = [(429, {"Retry-After": retry_after})] * 2
    (record,), _ = serve(retries=3)
    assert (record.error_kind, record.retries, len(server.received)) == ("http-429", 0, 1)
    assert "not retried after" in str(record.error_message)


@pytest.mark.parametrize("retry_after", ["nan", "-inf", "-5", "0", "soon", ""])
def test_a_retry_after_that_is_no_time_is_replaced_by_a_short_one(
    serve: Serve, server: Server, retry_after: str
) -> None:
    server.first = [(429, {"Retry-After": retry_after})]
    (record,), _ = serve(retries=1)
    assert (record.error_kind, record.retries) == (None, 1)


def test_retries_end_at_the_first_time_limit(serve: Serve, server: Server) -> None:
    server.first = [(503, {})] * 20
    (record,), _ = serve(retries=20, first_token_timeout=1.0)
    assert record.error_kind == "http-503"
    assert record.retries <= 3  # after 0.1 s, 0.2 s and 0.4 s


def test_an_invalid_request_is_not_retried(serve: Serve, server: Server) -> None:
    server.first = [(400, {})]
    (record,), _ = serve(retries=3)
    assert (record.error_kind, len(server.received)) == ("http-400", 1)


def test_a_server_that_ends_during_the_load_leaves_records(server: Server) -> None:
    backend = Endpoint(Endpoint.Options(url=server.url))
    with backend.open(open_context("served:")) as opened:
        server.shutdown()
        server.socket.close()
        dispatch = Dispatch([Request(0, (1,), 2)], Scheduled(np.zeros(1)), Stop(requests=1))
        (record,) = opened.serve(dispatch, opened.new_clock(), lambda: None)
    assert record.error_kind == "connect"


# -- before the load -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://127.0.0.1:1"}, "start the server"),
        ({"url": "http://no.such.host.invalid"}, "cannot be resolved"),
        ({"model": "lama"}, "did you mean 'llama'"),
        ({"headers": {"X-Api-Key": "${NOT_SET_KEY}"}}, "NOT_SET_KEY"),
    ],
)
def test_what_prevents_a_load_from_starting_is_an_input_error(
    serve: Serve, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        serve(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"url": "localhost:8000"},
        {"url": "http://user:secret@localhost"},
        {"url": "http://localhost?key=1"},
        {"api_key_env": "PASSPHRASE"},
        {"headers": {"Authorization": "Bearer abc"}},
        {"headers": {"X-Api-Key": "abc"}},
        {"headers": {"X": "a\r\nb"}},
    ],
)
def test_options_that_would_leak_secrets_or_are_invalid_are_rejected(
    options: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Endpoint.Options(**{"url": "http://localhost", **options})


# -- secrets and TLS -------------------------------------------------------------------------------


def test_the_key_goes_to_the_server_and_nowhere_else(
    serve: Serve, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server.first = [(500, {})]  # this server includes the key in its error
    (record,), report = serve()
    assert server.headers[0]["Authorization"] == f"Bearer {CANARY}"
    assert CANARY not in repr((record, report))
    assert record.error_message == "Bearer ***"


def test_headers_can_use_environment_variables(
    serve: Serve, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    serve(headers={"X-Api-Key": "${MY_TOKEN}", "X-Team": "bench"})
    assert server.headers[0]["X-Api-Key"] == CANARY
    assert server.headers[0]["X-Team"] == "bench"


@pytest.fixture
def authority(server: Server, tmp_path: Path) -> Path:
    """Serve TLS; return the file of the authority that signed the certificate."""
    signer = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    signer.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.scheme = "https"
    signer.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return tmp_path / "ca.pem"


def test_tls_works_with_a_trusted_authority(serve: Serve, authority: Path) -> None:
    (record,), _ = serve(verify=str(authority))
    assert record.finish == "length"


@pytest.mark.usefixtures("authority")
def test_an_untrusted_certificate_is_rejected(serve: Serve) -> None:
    with pytest.raises(InputError, match="certificate"):
        serve()


@pytest.mark.usefixtures("authority")
def test_the_verification_of_certificates_can_be_disabled(serve: Serve) -> None:
    (record,), _ = serve(verify=False)
    assert record.finish == "length"


def test_outputs_are_kept_as_ids_if_requested(serve: Serve) -> None:
    (record,), _ = serve(keep_outputs=True)
    assert record.output_ids


def session(number: int) -> Request:
    turns = (Turn((3,), 2, 0.01, text="more"), Turn((4,), 2, 0.01, text="all"))
    return Request(10 * number, (1, 2), 3, text="begin", session=number, turns=turns)


def test_a_turn_contains_the_history_as_messages(serve: Serve, server: Server) -> None:
    records, _ = serve(count=3, arrivals=Scheduled(np.zeros(1)), pool=[session(0)])
    assert server.received[2]["messages"] == [
        {"role": "user", "content": "begin"},
        {"role": "assistant", "content": "aaa"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": "aa"},
        {"role": "user", "content": "all"},
    ]
    assert [(r.session, r.turn) for r in records] == [(0, 0), (0, 1), (0, 2)]


TOOL = Message("tool", "5", {"tool_call_id": "c1"})
PARTS = (Message("system", "Be brief."), Message("user", "Why?"), TOOL)


@pytest.mark.parametrize("clients", [1, 2])
def test_messages_are_sent_with_their_roles(serve: Serve, server: Server, clients: int) -> None:
    text = "".join(message.plain for message in PARTS)
    pool = [Request(index, (1, 2), 3, text=text, messages=PARTS) for index in range(2)]
    serve(count=2, arrivals=Scheduled(np.zeros(2)), pool=pool, clients=clients)
    assert server.received[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "tool", "content": "5", "tool_call_id": "c1"},
    ]


def test_messages_are_one_text_for_the_completions_api(serve: Serve, server: Server) -> None:
    pool = [Request(0, (1, 2), 3, text="Be brief.\n\nWhy?5\n\n", messages=PARTS)]
    serve(count=1, arrivals=Scheduled(np.zeros(1)), pool=pool, api="completions")
    assert server.received[0]["prompt"] == "Be brief.\n\nWhy?5\n\n"


def test_a_turn_of_the_completions_api_contains_the_history_as_one_text(
    serve: Serve, server: Server
) -> None:
    serve(count=2, arrivals=Scheduled(np.zeros(1)), pool=[session(0)], api="completions")
    assert server.received[1]["prompt"].startswith("begin")
    assert server.received[1]["prompt"].endswith("more")


def test_a_turn_is_due_one_think_time_after_the_answer_before_it(serve: Serve) -> None:
    records, _ = serve(count=2, arrivals=Scheduled(np.zeros(1)), pool=[session(0)])
    assert records[1].due == pytest.approx(records[0].token_times[-1] + 0.01)


def test_a_session_stays_with_its_client(serve: Serve, server: Server) -> None:
    pool = [session(number) for number in range(4)]
    records, _ = serve(count=12, arrivals=Scheduled(np.zeros(4)), pool=pool, clients=2)
    assert sorted((r.session, r.turn) for r in records) == [
        (number, turn) for number in range(4) for turn in range(3)
    ]
    assert {len(body["messages"]) for body in server.received} == {1, 3, 5}


def fan_out(number: int) -> Request:
    """Return a job: two requests in parallel, and one that waits for both."""
    parents = ((0,), (0,), (0, 1, 2))
    turns = tuple(Turn((3,), 2, 0.01, f"t{n}", (), of) for n, of in enumerate(parents, start=1))
    return Request(10 * number, (1, 2), 3, text="begin", parents=(), turns=turns)


@pytest.mark.parametrize("clients", [1, 2])
def test_a_job_is_whole_and_stays_with_its_client(
    serve: Serve, server: Server, clients: int
) -> None:
    pool = [fan_out(number) for number in range(3)]
    records, _ = serve(count=6, arrivals=Scheduled(np.zeros(3)), pool=pool, clients=clients)
    assert sorted((r.session, r.turn) for r in records) == [
        (number, turn) for number in range(3) for turn in range(4)
    ]
    assert sum(record.phase == "drain" for record in records) == 6
    by_turn = {(r.session, r.turn): r for r in records}
    for number in range(3):
        last, *others = (by_turn[number, turn] for turn in (3, 1, 2))
        answered = max(other.token_times[-1] for other in others)
        assert last.due >= answered + 0.01
    joins = [body["messages"] for body in server.received if len(body["messages"]) == 3]
    assert {messages[1]["content"] for messages in joins} == {"aaa"}


@pytest.mark.parametrize("clients", [1, 2])
def test_dropped_requests_are_known_for_any_number_of_clients(
    serve: Serve, server: Server, summaries: list[LoadSummary], clients: int
) -> None:
    server.delay = 0.3
    limit = Limit(clients, "drop")
    records, _ = serve(count=6, limit=limit, clients=clients)
    (summary,) = summaries
    assert (len(records), len(summary.dropped)) == (clients, 6 - clients)


def test_a_client_that_cannot_keep_up_ends_the_load_if_requested(
    serve: Serve, summaries: list[LoadSummary], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "BEATS", 10)
    arrivals = Scheduled(np.arange(2000) / 20)
    stop = Stop(requests=2000, client_lag=1e-7)
    records, _ = serve(count=2000, arrivals=arrivals, stop=stop)
    assert summaries[0].stopped_by == ["client-lag"]
    assert len(records) < 2000


# -- the length of answers -------------------------------------------------------------------------


Prepare = Callable[..., tuple[Request, list[Record], BackendReport]]


@pytest.fixture
def prepared(server: Server) -> Prepare:
    """Prepares and serves one request, as a campaign does."""

    def run(**options: Any) -> tuple[Request, list[Record], BackendReport]:
        backend = Endpoint(Endpoint.Options(**{"url": server.url, **options}))
        with backend.open(open_context("served:")) as opened:
            (request,) = opened.prepare([Request(0, (1, 2), 3, text="prompt")])
            opened.calibrate(
                Dispatch(RequestCycle([request]), Scheduled(np.zeros(1)), Stop(requests=1))
            )
            dispatch = Dispatch(RequestCycle([request]), Scheduled(np.zeros(1)), Stop(requests=1))
            records = opened.serve(dispatch, opened.new_clock(), lambda: None)
            return request, records, opened.report()

    return run


def lengths(body: dict[str, Any]) -> dict[str, int]:
    return {name: body[name] for name in LENGTH_FIELDS if name in body}


def test_the_length_is_sent_in_the_given_field(prepared: Prepare, server: Server) -> None:
    prepared(length_field="n_predict")
    assert [lengths(body) for body in server.received] == [{"n_predict": n} for n in (1, 1, 3)]


def test_the_length_need_not_be_sent(prepared: Prepare, server: Server) -> None:
    _, (record,), report = prepared(length_field=None)
    assert [lengths(body) for body in server.received] == [{}] * 3
    assert (record.output_tokens, record.error_kind) == (DEFAULT_TOKENS, None)
    assert "longer-than-requested" not in {caveat.kind for caveat in report.caveats}


@pytest.mark.parametrize("clients", [1, 2])
def test_a_rejected_length_field_is_replaced_by_the_one_that_the_server_names(
    prepared: Prepare, server: Server, clients: int
) -> None:
    server.rejected = "max_tokens"
    _, (record,), report = prepared(clients=clients)
    assert lengths(server.received[-1]) == {"max_completion_tokens": 3}
    assert (record.output_tokens, record.error_kind) == (3, None)
    (caveat,) = (caveat for caveat in report.caveats if caveat.kind == "length-field")
    assert caveat.message == (
        "The server rejects `max_tokens`, so the lengths of answers were sent as "
        "`max_completion_tokens`."
    )


def test_a_server_that_rejects_its_own_advice_gets_the_given_field(
    prepared: Prepare, server: Server
) -> None:
    server.rejected = "stream"  # every request
    _, (record,), report = prepared()
    assert lengths(server.received[-1]) == {"max_tokens": 3}
    assert record.error_kind == "http-400"
    assert "length-field" not in {caveat.kind for caveat in report.caveats}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"body": {"n": 2}}, "`n` is 2; expected 1"),
        ({"body": {"max_tokens": 5}}, "`body` has `max_tokens`, which the workload sets"),
        ({"body": {"max_tokens": None}}, "to null to send no length"),
        ({"length_field": ""}, "at least 1 character"),
        ({"length_field": "messages"}, "which has another meaning"),
    ],
)
def test_a_body_sets_neither_the_number_of_answers_nor_their_length(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Endpoint.Options(url="http://localhost", **options)


def test_one_answer_may_be_requested(serve: Serve, server: Server) -> None:
    serve(body={"n": 1})
    assert server.received[0]["n"] == 1
