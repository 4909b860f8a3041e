"""Time, memory and size of the report on many requests.

    python benchmarks/report.py                      # 100,000 requests
    python benchmarks/report.py --requests 1000000

A simulated server answers on a virtual clock; the report of what it left is made by the command
line in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIO = """
name: many
model: random:tiny
workload: {{kind: synthetic, prompt_tokens: 8, output_tokens: {tokens}}}
load: {{kind: poisson, rate: 200}}
requests: {requests}
backends: [fake]
engine: {{slots: 64}}
collect: []
timeout: 3600
"""


def llmbench(*arguments: str | Path) -> tuple[float, int]:
    """Run the command line; give the seconds it took and its peak resident bytes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "llmbench", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"llmbench {arguments[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=8, help="tokens an answer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scenario, results = Path(folder, "many.yaml"), Path(folder, "results")
        scenario.write_text(SCENARIO.format(**vars(arguments)))
        llmbench("run", scenario, "--out", results)
        seconds, peak = llmbench("report", results)
        size = (results / "report.html").stat().st_size
    figures = {"requests": arguments.requests, "seconds": seconds, "peak_rss_bytes": peak}
    print(json.dumps({**figures, "html_bytes": size}, indent=1))


if __name__ == "__main__":
    main()
