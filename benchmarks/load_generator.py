"""The speed and accuracy of the load client, against a server that logs its own times.

    python benchmarks/load_generator.py                     # llmbench and plain aiohttp, 3 minutes
    python benchmarks/load_generator.py --aiperf PATH --guidellm PATH --json
    python benchmarks/load_generator.py --clients llmbench watched --rates 200

1. Ceiling: 64 streams of 32 tokens, as fast as both sides can; streamed tokens per second, and the
   client's processor time per 1,000 tokens.
2. Accuracy: Poisson, gamma and constant arrivals at 50, 200 and 500 requests per second, each of 16
   tokens 5 ms apart. Errors of TTFT and ITL against the server's log, of arrivals against the
   schedule; and whether the arrivals at the server still have the distribution of the schedule:
   Kolmogorov-Smirnov distance of the gaps, dispersion of counts, correlation of successive gaps.

The server runs on one core and the client on another. ``frugal`` is llmbench with `pacing: frugal`.
``watched`` is llmbench with its collectors on the client's core, which shows their effect on the
client. aiohttp is a minimal client; the other
tools are programs given by path, of which only the arrivals and the total cost are measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

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
BURSTINESS = 0.5


@dataclass(frozen=True)
class ClientTimes:
    """When a request was due and sent, and its token times, by the machine's clock."""

    due: float
    sent: float
    times: list[float]


Measured = tuple[dict[int, ClientTimes], float]  # by request id, and the share of a core
Client = Callable[[str, Any, int, int], Measured]


@contextmanager
def server(*arguments: object, name: str = "truth_server.py") -> Iterator[str]:
    script = Path(__file__).with_name(name)
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
    return [Request(n, (1,) * 16, tokens, text=f"tell me about {n}") for n in range(count)]


# -- clients ---------------------------------------------------------------------------------------


def by_llmbench(url: str, arrivals: Any, count: int, tokens: int, **options: Any) -> Measured:
    return llmbench_records(url, arrivals, pool(count, tokens), **options)


def frugal(url: str, arrivals: Any, count: int, tokens: int) -> Measured:
    return by_llmbench(url, arrivals, count, tokens, pacing="frugal")


def llmbench_records(
    url: str, arrivals: Any, requests: Sequence[Request], **options: Any
) -> Measured:
    context = OpenContext(ModelOptions(source="served:"), LoadShape((1,), 9), stop_at_eos=True)
    with Endpoint(Endpoint.Options(url=url, **options)).open(context) as opened:
        clock = opened.new_clock()
        assert isinstance(clock, MonotonicClock)  # noqa: S101 (for type checkers)
        dispatch = Dispatch(requests, arrivals, Stop(requests=len(requests)))
        began, cpu_began = time.monotonic(), time.process_time()
        records = opened.serve(dispatch, clock, lambda: None)
        share = (time.process_time() - cpu_began) / (time.monotonic() - began)
    if failed := [record for record in records if not record.succeeded]:
        raise SystemExit(f"{len(failed)} requests failed, the first: {failed[0].error_message}")
    origin = clock.origin
    seen = {
        record.request_id: ClientTimes(
            record.due + origin,
            (record.sent or 0.0) + origin,
            [moment + origin for moment in record.token_times],
        )
        for record in records
    }
    return seen, share


def watched(url: str, arrivals: Any, count: int, tokens: int) -> Measured:
    from engine_overhead import collectors  # noqa: PLC0415 (imports torch)

    with watch(collectors(), os.getpid()):
        return by_llmbench(url, arrivals, count, tokens)


def by_aiohttp(url: str, arrivals: Any, count: int, tokens: int) -> Measured:
    began, cpu_began = time.monotonic(), time.process_time()
    seen = asyncio.run(_load_with_aiohttp(url, arrivals, count, tokens))
    return seen, (time.process_time() - cpu_began) / (time.monotonic() - began)


async def _load_with_aiohttp(
    url: str, arrivals: Any, count: int, tokens: int
) -> dict[int, ClientTimes]:
    seen: dict[int, ClientTimes] = {}
    requests = iter(pool(count, tokens))
    offsets = arrivals.at_start()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        origin = time.monotonic()

        async def send(request: Request, due: float) -> None:
            body = {"model": "truth", "stream": True, "max_tokens": request.max_new_tokens,
                    "messages": [{"role": "user", "content": request.text}]}  # fmt: skip
            times, sent = [], time.monotonic()
            async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: {"):
                        now = time.monotonic()
                        choices = json.loads(line[6:])["choices"]
                        if choices and choices[0]["delta"].get("content"):
                            times.append(now)
            seen[request.id] = ClientTimes(due, sent, times)

        async def user() -> None:
            for request in requests:
                await send(request, time.monotonic())

        if len(offsets) < count:  # a closed loop
            await asyncio.gather(*(user() for _ in offsets))
            return seen
        tasks = []
        for request, offset in zip(requests, offsets, strict=True):
            await asyncio.sleep(max(0.0, origin + offset - time.monotonic()))
            tasks.append(asyncio.create_task(send(request, origin + offset)))
        await asyncio.gather(*tasks)
    return seen


CLIENTS: dict[str, Client] = {
    "llmbench": by_llmbench, "frugal": frugal, "watched": watched, "aiohttp": by_aiohttp,
}  # fmt: skip


# -- measurements ----------------------------------------------------------------------------------


def ceiling(client: Client, count: int) -> dict[str, float]:
    users = Closed(Closed.Options(concurrency=STREAMS)).arrivals(Stop(), stream(0, "arrivals"))
    with server() as url:
        client(url, users, STREAMS * 4, CEILING_TOKENS)  # warm-up
        truth(url)
        users = Closed(Closed.Options(concurrency=STREAMS)).arrivals(Stop(), stream(0, "arrivals"))
        cpu_began = time.process_time()
        requests, _ = client(url, users, count, CEILING_TOKENS)
        cpu_seconds = time.process_time() - cpu_began
        read = [received for received, _ in truth(url).values()]
    tokens = sum(len(request.times) for request in requests.values())
    elapsed = max(request.times[-1] for request in requests.values()) - min(read)
    return {
        "tokens_per_second": tokens / elapsed,
        "requests_per_second": len(requests) / elapsed,
        "cpu_ms_per_1000_tokens": 1e6 * cpu_seconds / tokens,
        "cpu_seconds_per_1000_requests": 1e3 * cpu_seconds / len(requests),
    }


def accuracy(client: Client, kind: str, rate: int, seconds: int) -> dict[str, float]:
    count = rate * seconds
    arrivals = load(kind, rate).arrivals(Stop(requests=count), stream(0, "arrivals"))
    with server("--ttft", TTFT, "--itl", ITL) as url:
        client(url, load("constant", 50).arrivals(Stop(requests=50), stream(0, "a")), 50, 2)
        truth(url)
        requests, share = client(url, arrivals, count, TOKENS)
        log = truth(url)
    ttft = [request.times[0] - log[n][1][0] for n, request in requests.items()]
    late = [log[n][0] - request.due for n, request in requests.items()]
    sent = [request.sent - request.due for request in requests.values()]
    gaps = [np.diff(request.times) - np.diff(log[n][1]) for n, request in requests.items()]
    read = np.sort(np.array([received for received, _ in log.values()]))
    return {
        **milliseconds("ttft_error", np.array(ttft)),
        **milliseconds("itl_error", np.abs(np.concatenate(gaps))),
        **milliseconds("arrival_error", np.array(late)),
        **milliseconds("send_lag", np.array(sent)),
        **shape(kind, rate, read),
        "core_share": share,
    }


def load(kind: str, rate: float) -> Any:
    if kind == "gamma":
        return Gamma(Gamma.Options(rate=rate, burstiness=BURSTINESS))
    part: Any = {"poisson": Poisson, "constant": Constant}[kind]
    return part(part.Options(rate=rate))


def milliseconds(name: str, sample: Floats) -> dict[str, float]:
    p50, p99 = np.percentile(sample, [50, 99]) * 1e3
    return {f"{name}_ms_p50": float(p50), f"{name}_ms_p99": float(p99)}


def shape(kind: str, rate: float, read: Floats) -> dict[str, float]:
    """Return statistics of the arrivals at the server, with critical values of the schedule."""
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
    if kind == "constant":  # there is no distribution: the relative error of the gaps
        return float(np.percentile(np.abs(gaps * rate - 1), 99))
    shape = BURSTINESS if kind == "gamma" else 1.0
    return float(stats.kstest(gaps, stats.gamma(shape, scale=1 / (shape * rate)).cdf).statistic)


# -- other load generators -------------------------------------------------------------------------


def program(name: str, path: str, rate: int, seconds: int) -> dict[str, float]:
    """Return the arrivals and the cost of another load generator at a rate."""
    with server("--ttft", TTFT, "--itl", ITL) as url, tempfile.TemporaryDirectory() as folder:
        command = {"aiperf": _aiperf, "guidellm": _guidellm}[name](path, url, rate, seconds, folder)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        elapsed = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        log = truth_of_any(url)
    if not log:
        print(f"{name} sent nothing:\n{done.stdout[-999:]}{done.stderr[-999:]}", file=sys.stderr)
        return {}
    read = np.sort(np.array([received for received, _ in log]))
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    tokens = sum(len(writes) for _, writes in log)
    return {
        "requests": len(log),
        "rate_seen": (len(read) - 1) / (read[-1] - read[0]),
        "seconds": elapsed,
        "cpu_ms_per_1000_tokens": 1e6 * cpu_seconds / tokens,
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


# -- command line ----------------------------------------------------------------------------------


def measured(options: argparse.Namespace) -> dict[str, Any]:
    console = Console(stderr=True)
    results: dict[str, Any] = {"ceiling": {}, "accuracy": {}, "programs": {}}
    for name in options.clients:
        client = CLIENTS[name]
        console.print(f"ceiling of {name}")
        rounds = [ceiling(client, options.requests) for _ in range(options.rounds)]
        results["ceiling"][name] = {k: float(np.median([r[k] for r in rounds])) for k in rounds[0]}
        for kind in options.kinds:
            for rate in options.rates:
                console.print(f"accuracy of {name}, {kind} at {rate}/s")
                row = accuracy(client, kind, rate, options.seconds)
                results["accuracy"][f"{name}, {kind} {rate}/s"] = row
    for name in ("aiperf", "guidellm"):
        if path := getattr(options, name):
            console.print(f"{name} at {options.program_rate}/s")
            row = program(name, path, options.program_rate, options.seconds)
            results["programs"].update({name: row} if row else {})
    return results


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
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the ceiling; their median is shown"
    )
    parser.add_argument("--requests", type=int, default=6000, help="per round of the ceiling")
    parser.add_argument("--seconds", type=int, default=10, help="per measurement of accuracy")
    parser.add_argument(
        "--clients", choices=CLIENTS, nargs="+", default=["llmbench", "aiohttp"], metavar="NAME"
    )
    parser.add_argument("--rates", type=int, nargs="+", default=[50, 200, 500])
    parser.add_argument("--kinds", nargs="+", default=["poisson", "gamma", "constant"])
    parser.add_argument("--aiperf", help="path of its command")
    parser.add_argument("--guidellm", help="path of its command")
    parser.add_argument("--program-rate", type=int, default=50, help="of aiperf and guidellm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    results = measured(options)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    console = Console(width=200)
    for title, rows in results.items():
        show(title, rows, console)


if __name__ == "__main__":
    main()
