"""Whether the load client's memory stays flat over a long run: bytes per request.

    python benchmarks/soak_client.py                           # 3 minutes at 300 requests/s
    python benchmarks/soak_client.py --seconds 3600 --json     # an hour

One run of llmbench sends a constant rate of short chats to benchmarks/truth_server.py, and the
collector `cpu` reads the memory of the worker and its children every second. ``bytes per request``
is the slope of memory over requests sent (Theil-Sen), which leaves out the start of the run, and
``MB per hour`` the same at the rate of the load. ``peak of the worker`` is that of the worker only,
with the time after the load in which records are built and stored. ``drift`` is what the report's
section Soak says of the memory during the load.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
from load_generator import server
from scipy.stats import theilslopes

from llmbench.analysis import soak
from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.metrics.record_arrays import floats
from llmbench.cli import main as llmbench
from llmbench.runs import store
from llmbench.runs.run import Run

SETTLED = 0.2  # of the load, before memory counts
MEMORY = "tree_rss_bytes"
SCENARIO = """\
name: soak-client
model: "served:truth"
workload: {{kind: synthetic, prompt_tokens: 16, output_tokens: {tokens}}}
load: {{kind: constant, rate: {rate}}}
duration: {seconds} s
timeout: {timeout} s
rerun_contaminated: 0  # other load does not change the memory
collect: [{{kind: cpu, interval: 1 s}}]
backends: [{{kind: endpoint, url: "{url}", clients: {clients}}}]
"""


def measure(arguments: argparse.Namespace, folder: Path) -> tuple[Run, float]:
    """Run the load in a fresh process, as any user would; return the run and the peak in MB."""
    with server("--ttft", 0.02, "--itl", 0.005) as url:
        path = folder / "soak.yaml"
        timeout = 2 * arguments.seconds + 300
        path.write_text(SCENARIO.format(**vars(arguments), url=url, timeout=timeout), "utf-8")
        out = folder / "results"
        if llmbench(["run", str(path), "--out", str(out), "--quiet"]):
            raise SystemExit("the run failed")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
    (run,) = store.read(out).runs
    if run.failure:
        raise SystemExit(run.failure.message)
    return run, peak


def growth(run: Run, peak: float) -> dict[str, float | str]:
    """Return the growth of the client's memory during the load, and its peak."""
    arrays = RecordArrays(run.records)
    memory = next(series for series in run.series if series.name == MEMORY)
    sent, end = np.sort(floats(arrays.all["sent"])), float(floats(arrays.all["due"]).max())
    inside = (memory.times >= SETTLED * end) & (memory.times <= end)
    requests = np.searchsorted(sent, memory.times[inside]).astype(np.float64)
    slope, _, low, high = theilslopes(memory.values[inside], requests)
    rate, rest = len(sent) / end, memory.values[inside] - slope * requests
    return {
        "requests": len(sent),
        "failed": arrays.failed,
        "requests/s": rate,
        "seconds": end,
        "memory at first (MB)": float(memory.values[0]) / 1e6,
        "memory at the end (MB)": float(memory.values[inside][-1]) / 1e6,
        "peak of the worker (MB)": peak,
        "bytes per request": float(slope),
        "bytes per request, 95 % low": float(low),
        "bytes per request, 95 % high": float(high),
        "MB per hour": float(slope) * rate * 3600 / 1e6,
        "MB per hour without requests": _slope(memory.times[inside], rest),
        "drift": _verdict(run, arrays),
    }


def _slope(times: np.ndarray, rest: np.ndarray) -> float:
    """Return the slope of the memory that requests do not explain, in MB per hour."""
    return float(theilslopes(rest, times)[0]) * 3600 / 1e6


def _verdict(run: Run, arrays: RecordArrays) -> str:
    for one in soak.tested(soak.courses(run, arrays)):
        if one.course.name == MEMORY:
            drifts = "a drift" if one.drifts else "no drift"
            return f"{100 * one.change:+.1f} % over the run, {drifts}"
    return "not tested"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--rate", type=float, default=300.0, help="requests per second")
    parser.add_argument("--tokens", type=int, default=16, help="of every answer")
    parser.add_argument("--clients", type=int, default=1, help="client processes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = growth(*measure(arguments, Path(folder)))
    if arguments.json:
        json.dump(rows, sys.stdout, indent=1)
        return
    for name, value in rows.items():
        print(f"{name:32} {value if isinstance(value, str) else format(value, ',.1f')}")


if __name__ == "__main__":
    main()
