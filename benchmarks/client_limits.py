"""Where the load client meets its limits: tokens per second, connections, and large messages.

    python benchmarks/client_limits.py                      # 2 minutes
    python benchmarks/client_limits.py --only streams --clients llmbench aiohttp --json

1. Streams: 64 answers at a time from a server that sends 1 or 16 tokens per write as fast as the
   sockets accept them. ``tokens per read`` is how many tokens the client found at once: more than
   per write if the client is the slower side. ``only reading`` is a client that counts its reads.
2. Connections: 15,000 answers that each get a first token, and their second one only when all
   connections are open.
3. Prompts of 50,000 words at 50 per second, and events of 256 KB at 20 answers per second: errors
   of TTFT and ITL against the server's log.
4. Pacing: Poisson arrivals at 100 to 2,000 per second with both settings of `pacing`.

The server runs on one core and the client on another.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any, cast

import numpy as np
import uvloop
from load_generator import (
    CLIENT_CORE,
    CLIENTS,
    Client,
    ClientTimes,
    accuracy,
    llmbench_records,
    load,
    milliseconds,
    pool,
    server,
    show,
    truth,
)
from rich.console import Console

from llmbench.loads.closed import Closed
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream

STREAMS, TOKENS, EVENTS = 64, 256, 16
CONNECTIONS = 15_000
PROMPT_WORDS, PROMPT_RATE = 50_000, 50
EVENT_BYTES, EVENTS_PER_ANSWER, EVENT_RATE = 256 * 2**10, 4, 20
RATES = (100, 500, 1000, 2000)
SECONDS = 5

Row = dict[str, float]
Rows = dict[str, Row]


def users(count: int) -> Any:
    return Closed(Closed.Options(concurrency=count)).arrivals(Stop(), stream(0, "arrivals"))


def streams(clients: list[str], rounds: int, requests: int) -> Rows:
    rows: Rows = {}
    for events in (1, EVENTS):
        names = [*clients, "only reading"]
        measured: dict[str, list[Row]] = {name: [] for name in names}
        for name in names * rounds:
            client = CLIENTS.get(name)
            row = _streams(client, events, requests) if client else floor(events, requests)
            measured[name].append(row)
        for name, results in measured.items():
            row = {key: float(np.median([result[key] for result in results])) for key in results[0]}
            rows[f"{name}, {events} per write"] = row
    return rows


def _streams(client: Client, events: int, requests: int) -> Row:
    with server("--events", events, name="fast_server.py") as url:
        client(url, users(STREAMS), STREAMS * 2, TOKENS)  # warm-up
        cpu_began = time.process_time()
        seen, _ = client(url, users(STREAMS), requests, TOKENS)
        cpu_seconds = time.process_time() - cpu_began
    tokens = sum(len(request.times) for request in seen.values())
    if tokens != requests * TOKENS:
        raise SystemExit(f"{tokens} of {requests * TOKENS} tokens")
    return {
        "tokens_per_second": tokens / elapsed(seen),
        "cpu_ms_per_1000_tokens": 1e6 * cpu_seconds / tokens,
        "tokens_per_read": tokens / sum(len(set(request.times)) for request in seen.values()),
    }


class Counting(asyncio.Protocol):
    """A connection that sends requests one after the other and only counts its reads."""

    reads = 0

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self.is_over = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        Counting.reads += 1
        if data.endswith(b"0\r\n\r\n"):
            self._send()

    def _send(self) -> None:
        if request := next(self._requests, None):
            self._transport.write(request)
        else:
            self.is_over.set_result(None)


def floor(events: int, requests: int) -> Row:
    """Return what reading alone costs, on the event loop that llmbench uses."""
    body = b'{"max_tokens": %d}' % TOKENS
    request = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    async def run(port: str) -> None:
        left, loop = repeat(request, requests), asyncio.get_running_loop()
        opening = (
            loop.create_connection(lambda: Counting(left), "127.0.0.1", int(port))
            for _ in range(STREAMS)
        )
        connected = await asyncio.gather(*opening)
        await asyncio.gather(*(protocol.is_over for _, protocol in connected))

    Counting.reads = 0
    with server("--events", events, name="fast_server.py") as url:
        began, cpu_began = time.monotonic(), time.process_time()
        uvloop.run(run(url.rpartition(":")[2]))
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu_began
    tokens = requests * TOKENS
    return {
        "tokens_per_second": tokens / seconds,
        "cpu_ms_per_1000_tokens": 1e6 * cpu_seconds / tokens,
        "tokens_per_read": tokens / Counting.reads,
    }


def elapsed(seen: dict[int, ClientTimes]) -> float:
    first = min(request.sent for request in seen.values())
    return max(request.times[-1] for request in seen.values()) - first


def connections() -> Rows:
    with server() as url:
        llmbench_records(url, users(1), pool(1, 2))  # warm-up
    with server("--together", CONNECTIONS, name="fast_server.py") as url:
        cpu_began = time.process_time()
        seen, _ = llmbench_records(url, users(CONNECTIONS), pool(CONNECTIONS, 2))
        cpu_seconds = time.process_time() - cpu_began
    first = [request.times[0] - request.sent for request in seen.values()]
    return {
        f"{CONNECTIONS:,} at once": {
            "tokens": sum(len(request.times) for request in seen.values()),
            "seconds": elapsed(seen),
            "first_token_seconds_p50": float(np.median(first)),
            "first_token_seconds_max": max(first),
            "cpu_seconds": cpu_seconds,
        }
    }


def large(seconds: int) -> Rows:
    prompts = PROMPT_RATE * seconds
    text = "word " * PROMPT_WORDS
    requests = [Request(n, (1,) * 16, 16, text=f"{text}{n}") for n in range(prompts)]
    answers = [
        Request(n, (1,) * 16, EVENTS_PER_ANSWER * EVENT_BYTES, text=f"tell me about {n}")
        for n in range(EVENT_RATE * seconds)
    ]
    return {
        f"prompts of {PROMPT_WORDS:,} words, {PROMPT_RATE}/s": _large(requests, PROMPT_RATE),
        f"events of 256 KB, {EVENT_RATE}/s": _large(
            answers, EVENT_RATE, "--event-bytes", EVENT_BYTES, "--tokens", EVENTS_PER_ANSWER
        ),
    }


def _large(requests: list[Request], rate: int, *options: object) -> Row:
    arrivals = load("constant", rate).arrivals(Stop(requests=len(requests)), stream(0, "arrivals"))
    with server("--ttft", 0.02, "--itl", 0.005, *options) as url:
        seen, share = llmbench_records(url, arrivals, requests)
        log = truth(url)
    error = [request.times[0] - log[n][1][0] for n, request in seen.items()]
    gaps = [np.diff(request.times) - np.diff(log[n][1]) for n, request in seen.items()]
    ttft = [request.times[0] - request.due for request in seen.values()]
    return {
        **milliseconds("ttft", np.array(ttft)),
        "ttft_ms_max": 1e3 * max(ttft),
        **milliseconds("ttft_error", np.array(error)),
        **milliseconds("itl_error", np.abs(np.concatenate(gaps))),
        "core_share": share,
    }


def pacing(seconds: int) -> Rows:
    names = ("send_lag", "arrival_error", "ttft_error")
    keys = [f"{name}_ms_{p}" for name in names for p in ("p50", "p99")]
    return {
        f"{pacing}, {rate}/s": {key: row[key] for key in [*keys, "core_share"]}
        for rate in RATES
        for pacing, client in (("precise", "llmbench"), ("frugal", "frugal"))
        for row in [accuracy(CLIENTS[client], "poisson", rate, seconds)]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["streams", "connections", "large", "pacing"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--clients", nargs="+", choices=CLIENTS, default=["llmbench", "aiohttp"])
    parser.add_argument("--rounds", type=int, default=3, help="of streams; medians are shown")
    parser.add_argument("--requests", type=int, default=1500, help="per round of streams")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of prompts, events, pacing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    measurements: dict[str, Callable[[], Rows]] = {
        "streams": lambda: streams(options.clients, options.rounds, options.requests),
        "connections": connections,
        "large": lambda: large(options.seconds),
        "pacing": lambda: pacing(options.seconds),
    }
    results = {name: measurements[name]() for name in options.only}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    console = Console(width=200)
    for title, rows in results.items():
        show(title, rows, console)


if __name__ == "__main__":
    main()
