"""Servers of one or several models that record requests: in a thread, or a process to be killed."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from llmbench.backends.endpoint.conformance.wire import done, event, usage

CHUNK = event({"choices": [{"delta": {"content": "a"}}]})


class ModelServer(ThreadingHTTPServer):
    """Answers with the requested number of tokens, one every ``delay`` seconds."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, models: Sequence[str] = ("a",), delay: float = 0.0, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.models, self.delay = models, delay
        self.received: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def prompts(self) -> list[str]:
        """The text of each request, in the order in which they came."""
        return [request["messages"][-1]["content"] for request in self.received]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ModelServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        data = {"data": [{"id": name} for name in self.server.models]}
        self._begin("application/json")
        self._send(json.dumps(data).encode())
        self._send(b"")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append({**body, "path": self.path, "headers": dict(self.headers)})
        if body["model"] not in self.server.models:
            self.send_error(404, "no such model")
            return
        self._begin("text/event-stream")
        for _ in range(body["max_tokens"]):
            time.sleep(self.server.delay)
            self._send(CHUNK)
        self._send(event(usage(body["max_tokens"])) + done())
        self._send(b"")

    def _begin(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _send(self, chunk: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))


@contextmanager
def model_servers(count: int, *models: str, delay: float = 0.0) -> Iterator[list[ModelServer]]:
    """Yield servers in threads, all with the same models."""
    with ExitStack() as stack:
        servers = [stack.enter_context(ModelServer(models or ("a",), delay)) for _ in range(count)]
        for server in servers:
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            stack.callback(server.shutdown)
        yield servers


@contextmanager
def server_process(
    delay: float = 0.0, port: int = 0
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a server in a process of its own, and its URL."""
    command = [sys.executable, str(Path(__file__)), f"--delay={delay}", f"--port={port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float)
    parser.add_argument("--port", type=int)
    given = parser.parse_args()
    with ModelServer(delay=given.delay, port=given.port) as server:
        print(server.url, flush=True)  # noqa: T201 (for the parent)
        server.serve_forever()


if __name__ == "__main__":
    main()
