"""What a neighbor that keeps one core busy does to TPOT p50 and ITL p99, as ratios.

    python benchmarks/neighbour.py                       # about ten minutes on two cores
    python benchmarks/neighbour.py --threads 2           # instead of `threads: auto`
    OMP_WAIT_POLICY=ACTIVE python benchmarks/neighbour.py --threads 2     # threads that spin
    python benchmarks/neighbour.py --backends eager onnx --rows 4 --json

Each backend runs in processes of its own, which take turns, with the environment of a worker. A
process serves the same load in pairs, alone and with the neighbor, in the order ABBA. A ratio is a
percentile with the neighbor over that alone: the geometric mean of a process's pairs, then of
processes, with their t interval. Run it while nothing else runs. Needs: pip install -e '.[onnx]'
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.stats import MIN_PROCESSES, geometric_interval, geometric_mean, percentile
from llmbench.backends import LoadShape, OpenContext, Server
from llmbench.backends.base import BACKENDS
from llmbench.environment.software import worker_variables
from llmbench.runs.run import records_table
from llmbench.scenario.schema import EngineOptions, ModelOptions
from llmbench.testing import dispatch, requests

PROMPT = tuple(range(1, 33))
METRICS = ("TPOT p50", "ITL p99")
SPIN = "while True: pass"


@contextmanager
def neighbor() -> Iterator[None]:
    """Keep one core busy."""
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            yield
        finally:
            process.kill()


def served(server: Server, arguments: argparse.Namespace) -> list[float]:
    """Serve the load once and return the METRICS in seconds."""
    load = dispatch(requests(arguments.requests, prompt=PROMPT, tokens=arguments.tokens))
    records = server.serve(load, server.new_clock(), lambda: None)
    arrays = RecordArrays(records_table(records))
    return [percentile(arrays.tpot, 50), percentile(arrays.itl, 99)]


def worker(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one backend in this process: the METRICS alone, and their ratios."""
    backend = BACKENDS.find(arguments.worker)
    context = OpenContext(
        ModelOptions(source=arguments.model),
        LoadShape((len(PROMPT),), len(PROMPT) + arguments.tokens),
        EngineOptions(slots=arguments.rows, threads=arguments.threads),
    )
    alone, beside = [], []
    with backend(backend.Options()).open(context) as server:
        served(server, arguments)
        for pair in range(arguments.pairs):
            if pair % 2 == 0:
                alone.append(served(server, arguments))
            with neighbor():
                beside.append(served(server, arguments))
            if pair % 2:
                alone.append(served(server, arguments))
        threads = server.report().effective["threads"]
    ratios = geometric_mean(np.transpose(np.divide(beside, alone)))
    seconds = geometric_mean(np.transpose(alone))
    return {"threads": threads, "alone": seconds.tolist(), "ratios": ratios.tolist()}


def measured(kind: str) -> dict[str, Any]:
    """Measure one backend in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", kind]
    done = subprocess.run(
        command, env=worker_variables(), stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def row_of(kind: str, processes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of a backend over its processes."""
    row: dict[str, Any] = {"backend": kind, "threads": processes[0]["threads"]}
    alone, ratios = (np.transpose([one[key] for one in processes]) for key in ("alone", "ratios"))
    for metric, seconds, several in zip(METRICS, alone, ratios, strict=True):
        interval = geometric_interval(several) if len(several) >= MIN_PROCESSES else ()
        row[metric] = {
            "alone_seconds": float(geometric_mean(seconds)),
            "ratio": float(geometric_mean(several)),
            "interval": [float(bound) for bound in interval],
        }
    return row


def show(rows: list[dict[str, Any]]) -> None:
    """Print the rows as a table."""
    columns = [column for metric in METRICS for column in (f"{metric} alone", "ratio")]
    table = Table("backend", "threads", *columns)
    for row in rows:
        cells = [cell for metric in METRICS for cell in _cells(**row[metric])]
        table.add_row(row["backend"], str(row["threads"]), *cells)
    Console().print(table)


def _cells(alone_seconds: float, ratio: float, interval: list[float]) -> tuple[str, str]:
    bounds = f" ({' – '.join(f'{bound:.3f}' for bound in interval)})" if interval else ""
    return f"{1e3 * alone_seconds:.2f} ms", f"{ratio:.3f}{bounds}"


def main() -> None:
    """Measure all backends in turns, and print a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="builtin:tiny")
    parser.add_argument("--backends", nargs="+", default=["eager", "compiled", "onnx"])
    parser.add_argument("--threads", default="auto", help="as `engine.threads`")
    parser.add_argument("--rows", type=int, default=1, help="sequences in a batch")
    parser.add_argument("--requests", type=int, default=20, help="in each half of a pair")
    parser.add_argument("--tokens", type=int, default=64, help="per answer")
    parser.add_argument("--pairs", type=int, default=4, help="per process")
    parser.add_argument("--rounds", type=int, default=5, help="processes per backend")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(worker(arguments)))
        return
    kinds = arguments.backends
    rounds = [{kind: measured(kind) for kind in kinds} for _ in range(arguments.rounds)]
    rows = [row_of(kind, [one[kind] for one in rounds]) for kind in kinds]
    print(json.dumps(rows, indent=1)) if arguments.json else show(rows)


if __name__ == "__main__":
    main()
