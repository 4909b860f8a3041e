"""Servers that send scripted metrics over a real socket, one response per connection."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmbench.collectors.server.collector import ServerMetricsOptions
from llmbench.collectors.server.probe import ServerProbe

EXPOSITIONS = Path(__file__).parent / "data" / "expositions"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

Body = str | bytes | Callable[[socket.socket], None]


def exposition(name: str) -> str:
    return (EXPOSITIONS / f"{name}.txt").read_text("utf-8")


class MetricServer:
    """Serves the bodies in order, the last one repeatedly; ``requests`` are as received."""

    def __init__(self, bodies: Iterable[Body], content_type: str = TEXT) -> None:
        self._bodies, self._type = list(bodies), content_type
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> None:
        """Answer until the socket is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        self.requests.append(connection.recv(65536).decode("latin-1"))
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        if callable(body):
            body(connection)
            return
        content = body.encode() if isinstance(body, str) else body
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._type}\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)

    def close(self) -> None:
        """Stop accepting connections."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def metric_server(*bodies: Body, content_type: str = TEXT) -> Iterator[MetricServer]:
    server = MetricServer(bodies, content_type)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.close()
    thread.join()


def response(head: str, body: bytes = b"") -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b"vllm:num_requests_running 1\n" * 4096)


def dripping(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        connection.sendall(b"v")
        time.sleep(0.02)


class Readings:
    """A probe of a server and what it reads; the probe has read once, to find the preset."""

    def __init__(self, url: str, **options: object) -> None:
        given = {"url": f"{url}/metrics", "interval": 0.5, **options}
        self.probe = ServerProbe(ServerMetricsOptions.model_validate(given))
        self.names = [quantity.name for quantity in self.probe.quantities()]

    def begin(self) -> None:
        self.probe.begin()

    def next(self) -> dict[str, float | None]:
        """Return the values of the reading in progress, once it has ended."""
        self.probe._background.settle()
        return dict(zip(self.names, self.probe.read(), strict=True))

    def unavailable(self) -> set[str | None]:
        return {quantity.unavailable for quantity in self.probe.quantities()}
