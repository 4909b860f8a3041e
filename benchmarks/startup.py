"""What a short run takes besides its load: seconds from the command to each step.

    python benchmarks/startup.py --rounds 5
    python benchmarks/startup.py --vllm path/to/bin/vllm

An endpoint is a server of truth_server.py, to which 50 requests are sent in 0.1 s; the local
backend is eager with builtin:tiny, which serves 4 requests. Beside them are a script that sends the
same requests with aiohttp, `vllm bench serve` if given, and a script that imports torch, loads the
same model and steps once. All alternate; figures are medians over the rounds. The steps are
seconds since the command was started; memory is the peak of the largest process, before the load
and in all.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stages import BEGAN

from llmbench.runs import store

REQUESTS, RATE = 50, 500
ENDPOINT = """\
name: startup
model: served:truth
workload: {{kind: synthetic, prompt_tokens: 16, output_tokens: 8}}
load: {{kind: constant, rate: {rate}}}
requests: {requests}
warmup: 0
backends: [{{kind: endpoint, url: "{url}"}}]
"""
LOCAL = """\
name: startup
model: builtin:tiny
workload: {kind: synthetic, prompt_tokens: 16, output_tokens: 8}
load: {kind: closed, concurrency: 1}
requests: 4
warmup: 0
backends: [eager]
"""
AIOHTTP = """\
import asyncio, sys, time
import aiohttp

async def one(session, due, begun):
    await asyncio.sleep(begun + due - time.monotonic())
    body = {"model": "truth", "max_tokens": 8, "stream": True,
            "messages": [{"role": "user", "content": "a whale " * 8}]}
    async with session.post(sys.argv[1] + "/v1/chat/completions", json=body) as response:
        async for _ in response.content:
            pass

async def main(requests, rate):
    async with aiohttp.ClientSession() as session:
        begun = time.monotonic()
        await asyncio.gather(*(one(session, n / rate, begun) for n in range(requests)))

asyncio.run(main(int(sys.argv[2]), int(sys.argv[3])))
"""
TORCH = """\
import sys, time
import torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1]).eval()
with torch.inference_mode():
    model(torch.arange(16)[None])
print(time.monotonic())
"""
Steps = dict[str, float]


@contextmanager
def server() -> Iterator[str]:
    script = Path(__file__).with_name("truth_server.py")
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout  # noqa: S101 (for type checkers)
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.kill()


def arrivals(url: str) -> list[float]:
    """Return when the server has read each request since the last call."""
    with urllib.request.urlopen(f"{url}/truth") as response:  # noqa: S310 (this program's server)
        return [read for _, read, _ in json.load(response)]


def run(command: list[str | Path]) -> tuple[float, float, str, float]:
    """Run a command; return its start, seconds, output and peak memory in MB."""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, BEGAN: str(began)},
    )
    assert process.stdout  # noqa: S101 (for type checkers)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[0]} exited with code {process.returncode}\n{output}")
    return began, time.monotonic() - began, output, usage.ru_maxrss / 1024


def llmbench(scenario: str, first: Callable[[Path], float]) -> Steps:
    """Measure a scenario; ``first`` returns when the first request was sent, given the results."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "scenario.yaml", Path(folder) / "out"
        path.write_text(scenario)
        stages = Path(__file__).with_name("stages.py")
        command: list[str | Path] = [sys.executable, stages, "run", path, "--out", out, "--quiet"]
        began, seconds, output, _ = run(command)
        events = {text: (at, peak) for text, at, peak in map(json.loads, output.splitlines())}
        steps = {text: at for text, (at, _) in events.items()}
        steps["first request"] = first(out) - began
    ordered = dict(sorted(steps.items(), key=lambda step: step[1]))
    return {
        **ordered,
        "exit": seconds,
        "MB before the load": events["measuring"][1],
        "MB": max(peak for _, peak in events.values()),
    }


def first_sent(out: Path) -> float:
    """Return when the first request of the only run was sent, on the monotonic clock."""
    (measured,) = store.read(out).runs
    origin: float = measured.facts["clock_origin_unix_seconds"] - time.time() + time.monotonic()
    sent: list[float] = measured.records["sent"].to_pylist()
    return origin + min(sent)


def client(url: str, command: list[str | Path]) -> Steps:
    """Measure a client that sends the requests of the endpoint."""
    began, seconds, _, peak = run(command)
    return {"first request": arrivals(url)[-REQUESTS] - began, "exit": seconds, "MB": peak}


def bare_torch(script: Path) -> Steps:
    model = Path(__file__).parents[1] / "llmbench" / "models" / "builtin" / "tiny"
    began, seconds, output, peak = run([sys.executable, script, model])
    return {"first request": float(output) - began, "exit": seconds, "MB": peak}


def contenders(url: str, folder: Path, vllm: str | None) -> dict[str, Callable[[], Steps]]:
    (folder / "with_aiohttp.py").write_text(AIOHTTP)
    (folder / "with_torch.py").write_text(TORCH)
    sent = [url, str(REQUESTS), str(RATE)]
    scenario = ENDPOINT.format(url=url, requests=REQUESTS, rate=RATE)
    serve: list[str | Path] = [
        str(vllm), "bench", "serve", "--base-url", url, "--backend", "openai-chat",
        "--endpoint", "/v1/chat/completions", "--model", "truth", "--dataset-name", "random",
        "--tokenizer", Path(__file__).parents[1] / "llmbench" / "models" / "builtin" / "tiny",
        "--num-prompts", str(REQUESTS), "--request-rate", str(RATE),
        "--random-input-len", "16", "--random-output-len", "8",
    ]  # fmt: skip
    found: dict[str, Callable[[], Steps]] = {
        "llmbench, endpoint": lambda: llmbench(scenario, lambda _: arrivals(url)[-REQUESTS]),
        "aiohttp": lambda: client(url, [sys.executable, folder / "with_aiohttp.py", *sent]),
        "llmbench, eager": lambda: llmbench(LOCAL, first_sent),
        "bare torch": lambda: bare_torch(folder / "with_torch.py"),
    }
    return {**found, "vllm bench": lambda: client(url, serve)} if vllm else found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vllm", help="the command `vllm` of an installation")
    parser.add_argument("--only", nargs="+", help="names of contenders")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder, taken = Path(tempfile.mkdtemp()), defaultdict[str, list[Steps]](list)
    with server() as url:
        chosen = contenders(url, folder, options.vllm)
        for _ in range(options.rounds):
            for name, measure in chosen.items():
                if name in (options.only or chosen):
                    arrivals(url)
                    taken[name].append(measure())
    shutil.rmtree(folder)
    medians = {
        name: {step: statistics.median(steps[step] for steps in rounds) for step in rounds[0]}
        for name, rounds in taken.items()
    }
    print(json.dumps(medians, indent=1) if options.json else as_text(medians))
    return 0


def as_text(medians: dict[str, Steps]) -> str:
    return "\n\n".join(
        "\n".join([name, *(f"  {step:28} {value:8.2f}" for step, value in steps.items())])
        for name, steps in medians.items()
    )


if __name__ == "__main__":
    raise SystemExit(main())
