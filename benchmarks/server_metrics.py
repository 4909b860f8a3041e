"""What the collector ``server`` costs the load client, with metrics good and hostile.

    python benchmarks/server_metrics.py            # about three minutes

The truth server answers Poisson arrivals on one core; the client runs on the other, where the
collectors' process runs too. A third process publishes metrics: those of vLLM (14 KB), ten
megabytes of them, or a page that never ends. The rounds alternate between them and no collector.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from load_generator import CLIENT_CORE, SERVER_CORE, Measured, accuracy, by_llmbench

from llmbench.collectors.sampler import watch
from llmbench.scenario.schema import Scenario

VLLM = Path(__file__).parents[1] / "tests" / "data" / "expositions" / "vllm.txt"
PAGES = ("vllm", "10 MB", "endless")
SHOWN = ("send_lag_ms_p50", "send_lag_ms_p99", "ttft_error_ms_p50", "ttft_error_ms_p99",
         "core_share")  # fmt: skip


def page(name: str) -> Iterator[bytes]:
    """Yield the parts of a page; those of ``endless`` are a byte long, and never end."""
    text = VLLM.read_bytes()
    if name == "endless":
        while True:
            yield b"#"
            time.sleep(0.01)
    yield text * (700 if name == "10 MB" else 1)


def serve(name: str) -> None:
    """Publish the page at every path, and print the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            with suppress(OSError):  # the collector reads no further
                for part in page(name):
                    self.wfile.write(part)

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def published(name: str) -> Iterator[str]:
    command = [sys.executable, __file__, "--serve", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {SERVER_CORE})
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/metrics"
        process.kill()


def collectors(url: str) -> Any:
    return Scenario.model_validate({
        "name": "scraped", "model": "random:tiny", "workload": "synthetic", "load": "closed",
        "backends": ["fake"], "requests": 1, "collect": [{"kind": "server", "url": url}],
    }).collect  # fmt: skip


def scraped(url: str, *arguments: Any) -> Measured:
    """Load the server while the collector reads metrics from the URL."""
    with watch(collectors(url), os.getpid()):
        return by_llmbench(*arguments)


def measured(name: str, rate: int, seconds: int) -> dict[str, float]:
    if name == "none":
        return accuracy(by_llmbench, "poisson", rate, seconds)
    with published(name) as url:
        client: Callable[..., Measured] = partial(scraped, url)
        return accuracy(client, "poisson", rate, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", choices=PAGES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
    os.sched_setaffinity(0, {CLIENT_CORE})
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in ("none", *PAGES)}
    for _ in range(options.rounds):
        for name, rounds in rows.items():
            rounds.append(measured(name, options.rate, options.seconds))
    medians = {
        name: {key: float(np.median([row[key] for row in rounds])) for key in SHOWN}
        for name, rounds in rows.items()
    }
    print(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
