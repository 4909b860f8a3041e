"""Time, memory and size of the report on many requests, or on many cases.

    python benchmarks/report.py                            # 100,000 requests of one case
    python benchmarks/report.py --requests 1000000
    python benchmarks/report.py --backends 5 --points 40   # 200 cases
    python benchmarks/report.py --points 1000 --open       # a sweep, opened in Chromium

A simulated server answers on a virtual clock; the report of what it left is made by the command
line in a process of its own. Of many cases, one is measured by the command line and the others are
stored with it, each with the records of the server at its own rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.support.ui import WebDriverWait

from llmbench.campaign import plan
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.steady_rate import Poisson
from llmbench.loads.stopping import Stop
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import PlannedRun, records_table
from llmbench.scenario import file
from llmbench.scenario.rng import stream
from llmbench.testing import fake_server, open_context, requests, serve

SLOTS = 64
PAINTED = """
new MutationObserver((_, observer) => {
  if (!document.querySelector(".plot .trace")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""


def scenario_of(arguments: argparse.Namespace) -> dict[str, Any]:
    names = [f"server-{number}" for number in range(1, arguments.backends + 1)]
    rates = np.geomspace(20, 400, arguments.points).round(3).tolist()
    return {
        "name": "many",
        "model": "random:tiny",
        "workload": {"kind": "synthetic", "prompt_tokens": 8, "output_tokens": arguments.tokens},
        "load": {"kind": "poisson", "rate": 200},
        "requests": arguments.requests,
        "repeats": arguments.repeats,
        "backends": [{"kind": "fake", "name": name} for name in names],
        "engine": {"slots": SLOTS},
        "slo": {"ttft_p99": "500 ms", "tpot_p99": "20 ms"},
        "collect": [],
        "timeout": "1 h",
        **({"sweep": {"load.rate": rates}} if arguments.points > 1 else {}),
    }


def served(planned: PlannedRun, tokens: int) -> list[Record]:
    """Return the records of the simulated server at the rate of a case."""
    scenario = planned.case.scenario
    count: int = planned.case.spec["requests"]
    stop = Stop(requests=count)
    arrivals = Poisson(Poisson.Options(rate=scenario.load.rate)).arrivals(
        stop, stream(planned.repeat, f"arrivals of {planned.case.name}")
    )
    with fake_server(open_context(slots=SLOTS)) as server:
        return serve(server, Dispatch(requests(count, tokens=tokens), arrivals, stop))


def store_runs(scenario: Path, folder: Path, tokens: int) -> None:
    """Measure the first case by the command line, and store all runs of the scenario."""
    source = file.load(scenario)
    one = scenario.with_name("one.yaml")
    one.write_text(json.dumps({**source.spec, "sweep": {}, "repeats": 1}))
    llmbench("run", one, "--out", folder.with_name("one"))
    (measured, *_) = store.read(folder.with_name("one")).runs
    for planned in plan.begin(source, folder).plan:
        run = replace(measured, case=planned.case, repeat=planned.repeat)
        store.write_run(folder, replace(run, records=records_table(served(planned, tokens))))


def llmbench(*arguments: str | Path) -> tuple[float, int]:
    """Run the command line; give the seconds it took and its peak resident bytes."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "llmbench", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"llmbench {arguments[0]} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def opened(page: Path) -> dict[str, float]:
    """Return the seconds from the navigation to the first and to the last chart, in Chromium.

    The page notes when it has painted its first chart, since questions to it would slow it down.
    """
    options = ChromeOptions()
    options.add_argument("--headless=new")
    options.add_argument("--no-sandbox")
    with Chrome(options) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": PAINTED})
        browser.get("about:blank")
        browser.get(page.as_uri())
        ready = "return document.documentElement.dataset.ready && performance.now()"
        wait = WebDriverWait(browser, 120, poll_frequency=0.2)
        last = wait.until(lambda driver: driver.execute_script(ready))
        first = browser.execute_script("return window.painted")
        return {"seconds_to_first_chart": first / 1e3, "seconds_to_last_chart": last / 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, help="of each run; 100,000, or 40 of many cases")
    parser.add_argument("--tokens", type=int, default=8, help="tokens an answer")
    parser.add_argument("--backends", type=int, default=1)
    parser.add_argument("--points", type=int, default=1, help="values of the swept rate")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--open", action="store_true", help="open the page in Chromium, too")
    parser.add_argument("--keep", type=Path, help="folder for the run set and its report")
    arguments = parser.parse_args()
    has_many_cases = arguments.backends * arguments.points * arguments.repeats > 1
    arguments.requests = arguments.requests or (40 if has_many_cases else 100_000)
    with tempfile.TemporaryDirectory() as temporary:
        parent = arguments.keep or Path(temporary)
        parent.mkdir(exist_ok=True, parents=True)
        scenario, results = parent / "many.yaml", parent / "results"
        scenario.write_text(json.dumps(scenario_of(arguments)))
        if has_many_cases:
            store_runs(scenario, results, arguments.tokens)
        else:
            llmbench("run", scenario, "--out", results)
        seconds, peak = llmbench("report", results)
        page = results / "report.html"
        figures: dict[str, Any] = {
            "cases": arguments.backends * arguments.points,
            "requests": arguments.requests,
            "seconds": seconds,
            "peak_rss_bytes": peak,
            "html_bytes": page.stat().st_size,
        }
        if arguments.open:
            figures |= opened(page)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
