"""A server whose answers a test decides, from the body of each request."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answers = Callable[[dict[str, Any], int], list[dict[str, Any]]]


@dataclass
class Answering:
    """The address of a server, and the bodies of the requests that it got."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def of_load(self) -> list[dict[str, Any]]:
        """The bodies of the requests for more than one token, which are no probes."""
        return [body for body in self.bodies if body.get("max_tokens") != 1]


@contextmanager
def answering(answers: Answers) -> Iterator[Answering]:
    """Yield a server that streams, of each request, the deltas that ``answers`` returns.

    It is called with the body and the number of requests of the load before this one.
    """
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(server.of_load)
                server.bodies.append(body)
            deltas = [{"content": "a"}] if body.get("max_tokens") == 1 else answers(body, number)
            self._send("text/event-stream", b"".join([*map(_event, deltas), b"data: [DONE]\n\n"]))

        def do_GET(self) -> None:
            self._send("application/json", json.dumps({"data": [{"id": "model"}]}).encode())

        def _send(self, content_type: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server = Answering(f"http://127.0.0.1:{listening.server_address[1]}")
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()


def _event(delta: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"
