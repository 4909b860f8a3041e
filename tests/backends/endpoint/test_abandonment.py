"""Users of a server who give up, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest
from truth_servers import serving, truth

from llmbench.backends.endpoint import Endpoint
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.answer_log import LoggedAnswers
from llmbench.backends.endpoint.balancing import Balance, Upstream
from llmbench.backends.endpoint.client import Client, Target
from llmbench.loads.abandonment import Abandonment
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.dispatch import Dispatch, RequestCycle
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request
from llmbench.testing import open_context

LONG = 2000  # tokens: seconds at the pace of the server
SOON = Patience(after=1.0)  # not before the request is sent, even on a busy machine


def request(number: int, tokens: int = LONG, patience: Patience | None = None) -> Request:
    return Request(number, (1,), tokens, text=f"request {number}", patience=patience)


def load(*requests: Request) -> Dispatch:
    return Dispatch(requests, Scheduled(np.zeros(len(requests))), Stop(requests=len(requests)))


def served(url: str, dispatch: Dispatch, **options: Any) -> tuple[list[Record], dict[str, int]]:
    """Serve a load; return its records and the client's counters."""
    with Endpoint(Endpoint.Options(url=url, **options)).open(open_context("served:")) as opened:
        records = opened.serve(dispatch, opened.new_clock(), lambda: None)
        counters = opened.report().counters
    return sorted(records, key=lambda record: record.request_id), counters


def test_the_server_sees_the_disconnect_of_a_user_who_gives_up() -> None:
    with serving("--itl", 0.002) as url:
        (gone, other), _ = served(url, load(request(0, patience=SOON), request(1, tokens=20)))
        log = truth(url)
    assert (gone.finish, gone.error_kind, gone.succeeded) == ("abandoned", None, False)
    assert gone.abandoned_at is not None
    assert 0 < len(gone.token_times) <= len(log[0][1]) < LONG
    assert max(gone.token_times) <= gone.abandoned_at
    assert (other.finish, len(log[1][1])) == ("length", 20)


def test_a_user_gives_up_with_the_last_tolerated_token() -> None:
    with serving("--itl", 0.002) as url:
        (gone,), counters = served(url, load(request(0, patience=Patience(tokens=5))))
        log = truth(url)
    assert (gone.finish, gone.abandoned_at) == ("abandoned", gone.token_times[-1])
    assert 5 == len(gone.token_times) <= len(log[0][1]) < LONG
    assert "answers_counted_by_tokenizer" not in counters


def test_a_request_that_is_finished_before_is_a_success() -> None:
    with serving() as url:
        (record,), _ = served(url, load(request(0, tokens=5, patience=Patience(after=600.0))))
    assert (record.finish, record.abandoned_at) == ("length", None)


def test_client_processes_abandon_the_same_requests_as_one_client() -> None:
    def of(clients: int, url: str) -> list[bool]:
        pool, arrivals = RequestCycle([request(0, tokens=4)]), Scheduled(np.zeros(12))
        abandonment = Abandonment(1, 0.5, Patience(tokens=2))
        dispatch = Dispatch(pool, arrivals, Stop(requests=12), abandonment=abandonment)
        records, _ = served(url, dispatch, clients=clients)
        return [record.finish == "abandoned" for record in records]

    with serving("--itl", 0.002) as url:
        one, two = of(1, url), of(2, url)
    assert one == two
    assert set(one) == {True, False}


@contextmanager
def silent_server(beginning: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server that begins one response and waits, and what it read then.

    That is b"" for a disconnect.
    """
    read: list[bytes] = []

    def answer(listener: socket.socket) -> None:
        with suppress(OSError):  # the listener is shut down where a test has failed
            answer_twice(listener)

    def answer_twice(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:  # which asks for the models
            connection.recv(2**16)
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        with listener.accept()[0] as connection:
            connection.recv(2**16)
            connection.sendall(beginning)
            try:
                read.append(connection.recv(2**16))
            except ConnectionResetError:
                read.append(b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", read
        finally:
            listener.shutdown(socket.SHUT_RDWR)  # the thread may wait for a connection
            thread.join()


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 503 Unavailable\r\nContent-Length: 9\r\n\r\n"]
)
def test_an_abandoned_request_is_not_retried(beginning: bytes) -> None:
    with silent_server(beginning) as (url, read):
        dispatch = load(request(0, patience=SOON))
        (gone,), counters = served(url, dispatch, model="m", retries=3)
    assert read == [b""]
    assert (gone.finish, gone.token_times, gone.retries) == ("abandoned", (), 0)
    assert counters.get("retries", 0) == 0


def test_a_user_gives_up_while_the_connection_is_being_opened() -> None:
    ended: list[str] = []

    async def never(*_: object) -> Any:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("canceled")

    target = Target(
        (Upstream("http://x", Address(("127.0.0.1",), 1)),), Balance(), None,
        streamed=True, needs_done=True, max_idle=0.0,
        retries=3, connect_timeout=600.0, first_token_timeout=600.0, total_timeout=600.0,
    )  # fmt: skip
    client = Client(target, lambda *_: b"", MonotonicClock(), lambda: None, never)
    pool = [request(0, patience=SOON)]
    asyncio.run(client.serve(load(*pool)))
    (answer,) = LoggedAnswers([client.answers], pool)
    assert (answer.finish(0), ended) == ("abandoned", ["canceled"])
