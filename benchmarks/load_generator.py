"""How fast and how exact the load client is, against a server that keeps the truth.

    python benchmarks/load_generator.py                     # llmbench and plain aiohttp, 3 minutes
    python benchmarks/load_generator.py --aiperf PATH --guidellm PATH --json
    python benchmarks/load_generator.py --clients llmbench watched --rates 200

1. Ceiling: 64 streams of 32 tokens as fast as both sides can; streamed tokens a second, and
   processor time of the client for 1,000 of them.
2. Accuracy: Poisson, gamma and constant arrivals at 50, 200 and 500 requests a second, of 16
   tokens 5 ms apart. Errors of TTFT and ITL against the server's own log, arrivals against the
   schedule; and whether what the server saw is still that process: Kolmogorov-Smirnov's distance of
   the gaps, the dispersion of counts, the correlation of neighboring gaps.

The server runs on one core and the client on another. ``watched`` is llmbench with the process of
its collectors beside it, on the client's core: what they do to its punctuality. aiohttp is a client
of a few lines; others are programs of their own, given by path, and only timed as a whole (they
report their own TTFT).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from llmbench.backends.base import LoadShape, OpenContext
from llmbench.backends.endpoint import Endpoint
from llmbench.collectors.sampler import watch
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Constant, Gamma, Poisson
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import ModelOptions

Floats = NDArray[np.float64]
STREAMS, CEILING_TOKENS = 64, 32
TTFT, ITL, TOKENS = 0.02, 0.005, 16
SERVER_CORE, CLIENT_CORE = 1, 0


@dataclass(frozen=True)
class Seen:
    """What a client saw of a request on the machine's clock: when it was due, its tokens."""

    due: float
    times: list[float]


Client = Callable[[str, Any, int, int], tuple[dict[int, Seen], float]]


@contextmanager
def server(*arguments: object) -> Iterator[str]:
    script = Path(__file__).with_name("truth_server.py")
    command = [sys.executable, str(script), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        os.sched_setaffinity(process.pid, {SERVER_CORE})
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


def truth(url: str) -> dict[int, tuple[float, list[float]]]:
    with urllib.request.urlopen(f"{url}/truth") as answer:  # noqa: S310 (our own server)
        return {int(name): (read, writes) for name, read, writes in json.load(answer)}


def pool(count: int, tokens: int) -> list[Request]:
    return [Request(n, (1,) * 16, tokens, text=f"tell me of {n}") for n in range(count)]


# -- clients ---------------------------------------------------------------------------------------


def by_llmbench(url: str, arrivals: Any, count: int, tokens: int) -> tuple[dict[int, Seen], float]:
    context = OpenContext(ModelOptions(source="served:"), LoadShape((1,), 9))
    with Endpoint(Endpoint.Options(url=url)).open(context) as opened:
        clock = opened.new_clock()
        assert isinstance(clock, MonotonicClock)  # noqa: S101 (what it is)
        dispatch = Dispatch(pool(count, tokens), arrivals, Stop(requests=count))
        began, busy = time.monotonic(), time.process_time()
        records = opened.serve(dispatch, clock, lambda: None)
        share = (time.process_time() - busy) / (time.monotonic() - began)
    seen = {
        r.request_id: Seen(r.due + clock.origin, [t + clock.origin for t in r.token_times])
        for r in records
    }
    return seen, share


def watched(url: str, arrivals: Any, count: int, tokens: int) -> tuple[dict[int, Seen], float]:
    from engine_overhead import collectors  # noqa: PLC0415 (imports torch)

    with watch(collectors(), os.getpid()):
        return by_llmbench(url, arrivals, count, tokens)


def by_aiohttp(url: str, arrivals: Any, count: int, tokens: int) -> tuple[dict[int, Seen], float]:
    began, busy = time.monotonic(), time.process_time()
    seen = asyncio.run(_load_with_aiohttp(url, arrivals, count, tokens))
    return seen, (time.process_time() - busy) / (time.monotonic() - began)


async def _load_with_aiohttp(url: str, arrivals: Any, count: int, tokens: int) -> dict[int, Seen]:
    seen: dict[int, Seen] = {}
    requests = iter(pool(count, tokens))
    offsets = arrivals.at_start()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        origin = time.monotonic()

        async def ask(request: Request, due: float) -> None:
            body = {"model": "truth", "stream": True, "max_tokens": request.max_new_tokens,
                    "messages": [{"role": "user", "content": request.text}]}  # fmt: skip
            times = []
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        now = time.monotonic()
                        choices = json.loads(line[6:])["choices"]
                        if choices and choices[0]["delta"].get("content"):
                            times.append(now)
            seen[request.id] = Seen(due, times)

        async def user() -> None:
            for request in requests:
                await ask(request, time.monotonic())

        if len(offsets) < count:  # a closed loop
            await asyncio.gather(*(user() for _ in offsets))
            return seen
        tasks = []
        for request, offset in zip(requests, offsets, strict=True):
            await asyncio.sleep(max(0.0, origin + offset - time.monotonic()))
            tasks.append(asyncio.create_task(ask(request, origin + offset)))
        await asyncio.gather(*tasks)
    return seen


CLIENTS: dict[str, Client] = {
    "llmbench": by_llmbench,
    "watched": watched,
    "aiohttp": by_aiohttp,
}


# -- what is measured ------------------------------------------------------------------------------


def ceiling(client: Client, count: int) -> dict[str, float]:
    users = Closed(Closed.Options(concurrency=STREAMS)).arrivals(Stop(), stream(0, "arrivals"))
    with server() as url:
        client(url, users, STREAMS * 4, CEILING_TOKENS)  # warm
        truth(url)
        users = Closed(Closed.Options(concurrency=STREAMS)).arrivals(Stop(), stream(0, "arrivals"))
        busy = time.process_time()
        seen, _ = client(url, users, count, CEILING_TOKENS)
        busy = time.process_time() - busy
        read = [moment for moment, _ in truth(url).values()]
    tokens = sum(len(each.times) for each in seen.values())
    took = max(each.times[-1] for each in seen.values()) - min(read)
    return {
        "tokens_per_second": tokens / took,
        "requests_per_second": len(seen) / took,
        "cpu_ms_per_1000_tokens": 1e6 * busy / tokens,
        "cpu_seconds_per_1000_requests": 1e3 * busy / len(seen),
    }


def accuracy(client: Client, kind: str, rate: int, seconds: int) -> dict[str, float]:
    count = rate * seconds
    arrivals = load(kind, rate).arrivals(Stop(requests=count), stream(0, "arrivals"))
    with server("--ttft", TTFT, "--itl", ITL) as url:
        client(url, load("constant", 50).arrivals(Stop(requests=50), stream(0, "a")), 50, 2)
        truth(url)
        seen, share = client(url, arrivals, count, TOKENS)
        told = truth(url)
    ttft = [each.times[0] - told[n][1][0] for n, each in seen.items()]
    late = [told[n][0] - each.due for n, each in seen.items()]
    gaps = [np.diff(each.times) - np.diff(told[n][1]) for n, each in seen.items()]
    read = np.sort(np.array([moment for moment, _ in told.values()]))
    return {
        **_ms("ttft_error", np.array(ttft)),
        **_ms("itl_error", np.abs(np.concatenate(gaps))),
        **_ms("arrival_error", np.array(late)),
        **shape(kind, rate, read),
        "core_share": share,
    }


def load(kind: str, rate: float) -> Any:
    if kind == "gamma":
        return Gamma(Gamma.Options(rate=rate, burstiness=0.5))
    part: Any = {"poisson": Poisson, "constant": Constant}[kind]
    return part(part.Options(rate=rate))


def _ms(name: str, sample: Floats) -> dict[str, float]:
    p50, p99 = np.percentile(sample, [50, 99]) * 1e3
    return {f"{name}_ms_p50": float(p50), f"{name}_ms_p99": float(p99)}


def shape(kind: str, rate: float, read: Floats) -> dict[str, float]:
    """Tell whether what the server saw is still the process that was asked for."""
    gaps = np.diff(read)
    counts = np.histogram(read, np.arange(read[0], read[-1], 10 / rate))[0]
    return {
        "ks_distance": _ks(kind, rate, gaps),
        "ks_critical": 1.63 / float(np.sqrt(len(gaps))),  # at 1 %
        "dispersion": float(counts.var() / counts.mean()),
        "gap_correlation": float(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]),
        "correlation_critical": 2.58 / float(np.sqrt(len(gaps))),  # at 1 %
    }


def _ks(kind: str, rate: float, gaps: Floats) -> float:
    ordered, n = np.sort(gaps), len(gaps)
    if kind == "constant":  # no distribution to hold it against: the worst distance from the gap
        return float(np.percentile(np.abs(gaps * rate - 1), 99))
    if kind == "poisson":
        expected = 1 - np.exp(-rate * ordered)
    else:  # a gamma of shape 1/2 is a scaled chi-squared of one degree of freedom
        expected = np.array([math.erf(np.sqrt(rate * gap / 2)) for gap in ordered])
    above = np.arange(1, n + 1) / n - expected
    return float(max(above.max(), (above - 1 / n).min() * -1))


# -- other load generators -------------------------------------------------------------------------


def program(name: str, path: str, rate: int, seconds: int) -> dict[str, float]:
    """Run another load generator at a rate and see what the server saw, and what it took."""
    with server("--ttft", TTFT, "--itl", ITL) as url, tempfile.TemporaryDirectory() as folder:
        command = {"aiperf": _aiperf, "guidellm": _guidellm}[name](path, url, rate, seconds, folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        took = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = truth_of_any(url)
    if not told:
        print(f"{name} sent nothing:\n{done.stdout[-999:]}{done.stderr[-999:]}", file=sys.stderr)
        return {}
    read = np.sort(np.array([moment for moment, _ in told]))
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tokens = sum(len(writes) for _, writes in told)
    return {
        "requests": len(told),
        "rate_seen": (len(read) - 1) / (read[-1] - read[0]),
        "seconds": took,
        "cpu_ms_per_1000_tokens": 1e6 * busy / tokens,
        **shape("poisson", rate, read),
    }


def truth_of_any(url: str) -> list[tuple[float, list[float]]]:
    with urllib.request.urlopen(f"{url}/truth") as answer:  # noqa: S310 (our own server)
        return [(read, writes) for _, read, writes in json.load(answer)]


def _aiperf(path: str, url: str, rate: int, seconds: int, folder: str) -> list[str]:
    return [
        path, "profile", "--model", "truth", "--url", url, "--endpoint-type", "chat", "--streaming",
        "--request-rate", str(rate), "--request-count", str(rate * seconds),
        "--synthetic-input-tokens-mean", "16", "--output-tokens-mean", str(TOKENS),
        "--tokenizer", _tokenizer(), "--artifact-dir", folder, "--ui", "none",
    ]  # fmt: skip


def _guidellm(path: str, url: str, rate: int, seconds: int, folder: str) -> list[str]:
    return [
        path, "run", "--backend", f"kind=openai_http,target={url},model=truth",
        "--tokenizer", f"kind=hf_auto,model={_tokenizer()}",
        "--profile", f"kind=poisson,rate={rate}",
        "--constraint", f"kind=max_requests,count={rate * seconds}",
        "--data", f"kind=synthetic_text,prompt_tokens=16,output_tokens={TOKENS}",
        "--output", f"kind=json,path={folder}/out.json", "--disable-console",
    ]  # fmt: skip


def _tokenizer() -> str:
    from llmbench.models.source import BUILTIN  # noqa: PLC0415 (only for other programs)

    return str(BUILTIN["tiny"])


# -- the whole -------------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    console = Console(stderr=True)
    found: dict[str, Any] = {"ceiling": {}, "accuracy": {}, "programs": {}}
    for name in options.clients:
        client = CLIENTS[name]
        console.print(f"ceiling of {name}")
        rounds = [ceiling(client, options.requests) for _ in range(options.rounds)]
        found["ceiling"][name] = {k: float(np.median([r[k] for r in rounds])) for k in rounds[0]}
        for kind in options.kinds:
            for rate in options.rates:
                console.print(f"accuracy of {name}, {kind} at {rate}/s")
                told = accuracy(client, kind, rate, options.seconds)
                found["accuracy"][f"{name}, {kind} {rate}/s"] = told
    for name in ("aiperf", "guidellm"):
        if path := getattr(options, name):
            console.print(f"{name} at {options.program_rate}/s")
            told = program(name, path, options.program_rate, options.seconds)
            found["programs"].update({name: told} if told else {})
    return found


def show(title: str, rows: dict[str, dict[str, float]], console: Console) -> None:
    if not rows:
        return
    table = Table(title=title)
    table.add_column("")
    for name in next(iter(rows.values())):
        table.add_column(name.replace("_", " "))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:,.4g}" for value in row.values()))
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="of the ceiling; the median counts")
    parser.add_argument("--requests", type=int, default=6000, help="of a ceiling")
    parser.add_argument("--seconds", type=int, default=10, help="of an accuracy")
    parser.add_argument(
        "--clients", choices=CLIENTS, nargs="+", default=["llmbench", "aiohttp"], metavar="NAME"
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--kinds", nargs="+", default=["poisson", "gamma", "constant"])
    parser.add_argument("--aiperf", help="its command")
    parser.add_argument("--guidellm", help="its command")
    parser.add_argument("--program-rate", type=int, default=50, help="for those two")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    found = measured(options)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    console = Console(width=200)
    for title, rows in found.items():
        show(title, rows, console)


if __name__ == "__main__":
    main()
