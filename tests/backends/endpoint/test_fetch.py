"""Single requests outside the load, to servers that send anything."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.addresses import resolve
from llmbench.backends.endpoint.conformance.wire import plain
from llmbench.backends.endpoint.fetch import Reply, fetch
from llmbench.backends.endpoint.server_info import served_models
from llmbench.errors import InputError

Respond = Callable[[socket.socket], None]


@contextmanager
def server(respond: Respond) -> Iterator[tuple[str, list[bytes]]]:
    """Yield the URL of a server that treats every connection so, and the requests it gets."""
    requests: list[bytes] = []

    def accept(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    requests.append(connection.recv(65536))
                    respond(connection)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=accept, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", requests
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def sent(data: bytes) -> Respond:
    return lambda connection: connection.sendall(data)


def repeated(first: bytes, part: bytes) -> Respond:
    """Respond without end."""

    def respond(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(part)

    return respond


def silent(connection: socket.socket) -> None:
    """Wait until the client closes the connection."""
    connection.recv(1)


def fetched(respond: Respond, *, seconds: float = 10.0, method: str = "GET") -> Reply:
    with server(respond) as (url, _):
        return fetch(
            f"{url}/models?a=b", resolve(urlsplit(url)), method=method, headers={"X-Team": "bench"},
            tls=None, seconds=seconds,
        )  # fmt: skip


def test_a_reply_has_its_status_and_content() -> None:
    reply = fetched(sent(plain("404 Not Found", "text/plain", b"no such path")))
    assert (reply.status, reply.content, reply.words) == (404, b"no such path", "no such path")
    assert reply.fault is None


def test_a_request_has_the_path_the_query_and_the_headers() -> None:
    with server(sent(plain("200 OK", "text/plain", b""))) as (url, requests):
        address = resolve(urlsplit(url))
        fetch(f"{url}/a?b=c", address, method="POST", headers={"X": "y"}, tls=None, seconds=10)
    lines = requests[0].split(b"\r\n")
    assert lines[0] == b"POST /a?b=c HTTP/1.1"
    assert {b"X: y", b"Content-Length: 0", b"Accept-Encoding: identity"} < set(lines)


@pytest.mark.parametrize(
    ("respond", "fault"),
    [
        (repeated(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536), "more than 4,194,304 bytes"),
        (repeated(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 65536), "headers of the response"),
        (repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999), "headers of the response"),
        (sent(b"SSH-2.0-OpenSSH\r\n"), "not valid HTTP"),
        (sent(b""), "without a response"),
        (sent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"), "before the response ended"),
        (sent(b"HTTP/1.1 101 X\r\n\r\n"), "switched to another protocol"),
        (sent(plain("200 OK", "a/b", b"\x1f\x8b\x08")), "compressed answers are not read"),
    ],
    ids=["body", "header", "interim", "ssh", "nothing", "cut", "other-protocol", "compressed"],
)
def test_a_reply_that_cannot_be_read_has_the_reason(respond: Respond, fault: str) -> None:
    reply = fetched(respond)
    assert fault in (reply.fault or "")
    assert len(reply.content) < 2 * limits.REPLY_BYTES


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\na"])
def test_a_reply_that_never_ends_is_late(first: bytes) -> None:
    def respond(connection: socket.socket) -> None:
        connection.sendall(first)
        silent(connection)

    assert fetched(respond, seconds=0.2).fault == "it is not complete within 0.2 s"


def test_a_redirect_is_not_followed() -> None:
    with server(sent(plain("307 X", "a/b", b"", "Location: /"))) as (url, requests):
        reply = fetch(url, resolve(urlsplit(url)), headers={}, tls=None, seconds=10)
    assert (reply.status, len(requests)) == (307, 1)


# -- the list of models ----------------------------------------------------------------------------


def name_of(body: bytes, wanted: str | None = None, status: str = "200 OK") -> str:
    with server(sent(plain(status, "application/json", body))) as (url, _):
        address = resolve(urlsplit(url))
        return served_models(f"{url}/v1", address, {}, None).choose(wanted)


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": null}', b'{"data": {"id": "a"}}', b'{"data": ["a", 1]}', b"[" * 100_000, b"null",
        b'{"data": [{"id": 7}]}', b'{"data": [{"id": "a\\u0000"}]}', b"<html>", b"\xff", b"",
        b'{"data": [{"id": "%b"}]}' % (b"a" * 1001),
    ],
)  # fmt: skip
def test_a_list_without_a_valid_name_has_no_model(body: bytes) -> None:
    with pytest.raises(InputError, match="lists no model; set `model`"):
        name_of(body)
    assert name_of(body, "mine") == "mine"


def test_the_reason_for_an_unreadable_list_is_in_the_message() -> None:
    with pytest.raises(InputError, match="lists no model: HTTP 307; set"):
        name_of(b"", status="307 X")
    with pytest.raises(InputError, match="lists no model: the response has more than"):
        name_of(b"a" * 2 * limits.REPLY_BYTES)


def test_long_names_do_not_make_long_messages() -> None:
    names = b", ".join(b'{"id": "%d%b"}' % (n, b"a" * 900) for n in range(2000))
    with pytest.raises(InputError) as raised:
        name_of(b'{"data": [%b]}' % names, "mine")
    assert len(str(raised.value)) <= 2000
