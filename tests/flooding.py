"""A server that floods its clients, and a client process that measures its own memory.

python tests/flooding.py serve            # prints its port
python tests/flooding.py load 8900 96     # sends that many requests; prints the result as JSON
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import threading
from collections import Counter
from contextlib import suppress

from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.conformance.wire import delta, event
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream

USERS = 48
BLOCK = 256 * 1024
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
FLOODS = {
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n"),
    "header": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "error": (b"HTTP/1.1 500 Error\r\n\r\n", b"a"),
    "line": (STREAM, b"a"),
    "data": (STREAM + b"data: ", b"a"),
    "empty data": (STREAM, b"data\n"),
    "comments": (STREAM, b": ping\n\n"),
    "json": (STREAM + b"[", b"[],"),
    "lines": (STREAM, b"{}\n"),
    "roles": (STREAM, event(delta("assistant", "role"))),
    "tokens": (STREAM, event(delta("a"))),
    "reasoning": (STREAM, event(delta("a", "reasoning_content"))),
    "lists": (STREAM, event({"choices": [{"delta": {"tool_calls": [[]] * 100_000}}]})),
    "texts": (STREAM, event(delta("word " * 50_000))),
    "wide texts": (STREAM, event(delta("words🙂 " * 20_000, "reasoning_content"))),
}


def flood(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        request = connection.recv(65536)
        if not request:
            return
        name = json.loads(request.partition(b"\r\n\r\n")[2])["model"]
        first, part = FLOODS[name]
        block = part * max(1, BLOCK // len(part))
        connection.sendall(first)
        while True:
            connection.sendall(block)


def run_server() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=flood, args=(connection,), daemon=True).start()


def payload(request: Request, _server: int) -> bytes:
    body = json.dumps({"model": request.text}).encode()
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def run_load(port: int, count: int) -> None:
    names = list(FLOODS)
    pool = [Request(n, (1,), 8, text=names[n % len(names)]) for n in range(count)]
    stop = Stop(requests=count)
    users = Closed(Closed.Options(concurrency=USERS)).arrivals(stop, stream(0, "arrivals"))
    options = EndpointOptions(url="http://x", connect_timeout=300)
    target = options.target(Address(("127.0.0.1",), port))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers = [*serve(target, payload, Dispatch(pool, users, stop), MonotonicClock()).answers]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kinds = Counter(f"{a.request.text}: {a.fault.kind if a.fault else None}" for a in answers)
    result = {"answers": len(answers), "kinds": kinds}
    sizes = {"before_mib": before / 1024, "growth_mib": (after - before) / 1024}
    sys.stdout.write(json.dumps({**result, **sizes}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        run_server()
    else:
        run_load(int(sys.argv[2]), int(sys.argv[3]))
