"""The overhead of showing a run's progress: in the worker, and in the process that shows it.

    python benchmarks/live_view.py            # about two minutes

1. Processor time of the parent while a simulated server answers in real time, without output, with
   plain lines, and with the screen (on a terminal of its own).
2. Time of the worker: per request, and per event, of which there are at most five per second.
"""

from __future__ import annotations

import io
import json
import os
import pty
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from llmbench.campaign import execute, plan
from llmbench.campaign.observer import SilentObserver
from llmbench.campaign.worker import Events
from llmbench.cli.progress import Lines
from llmbench.cli.screen import Screen
from llmbench.collectors.live_usage import LiveUsage
from llmbench.loads.dispatch import Dispatch, RequestOutcome
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: watched
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: {uniform: [8, 40]}}
load: {kind: poisson, rate: 20/s}
requests: 600
collect: []
backends: [{kind: fake, prefill: 2 ms, per_token: 4 ms, clock: real}]
"""
TOKENS, LATEST, EVENTS = 64, 8, 300


@contextmanager
def screen() -> Iterator[Screen]:
    """Yield a screen on a pseudo-terminal that is read."""
    reader, writer = pty.openpty()

    def read() -> None:
        try:
            while os.read(reader, 65_536):
                pass
        except OSError:  # the end of a terminal
            os.close(reader)

    reading = threading.Thread(target=read)
    reading.start()
    with (
        os.fdopen(writer, "w", encoding="utf-8") as terminal,
        Screen(Console(file=terminal, force_terminal=True), LiveUsage()) as shown,
    ):
        yield shown
    reading.join()


def share_of_a_core(observer: Any, folder: Path) -> float:
    """Run a scenario and return the parent's processor time in percent of the duration."""
    path = folder / "watched.yaml"
    path.write_text(SCENARIO, "utf-8")
    run_set = plan.begin(scenario_file.load(path), folder / "results")
    observer.began(run_set.plan[0], 1, 1)
    busy, began = time.process_time(), time.monotonic()
    execute.run_one(run_set, run_set.plan[0], observer)
    return 100 * (time.process_time() - busy) / (time.monotonic() - began)


def parent() -> dict[str, float]:
    results = {}
    for name, shown in (
        ("silence", SilentObserver()),
        ("lines", Lines(io.StringIO())),
        ("screen", screen()),
    ):
        with tempfile.TemporaryDirectory() as folder, shown as observer:
            results[name] = share_of_a_core(observer, Path(folder))
    return results


def worker() -> dict[str, float]:
    requests = LATEST * EVENTS
    pool = (Request(number, (1,) * 16, TOKENS) for number in count())
    dispatch = Dispatch(pool, Scheduled(np.zeros(requests)), Stop(requests=requests))
    dispatch.take_due(0.0)
    times = [index / 100 for index in range(TOKENS)]
    outcome = RequestOutcome(first_token=times[0], token_times=times, tokens=TOKENS)
    a_request, an_event = [], []
    for first in range(0, requests, LATEST):
        began = time.perf_counter()
        for number in range(first, first + LATEST):
            dispatch.finish(number, 1.0, outcome)
        a_request.append((time.perf_counter() - began) / LATEST)
        events = Events(lambda _: None)
        began = time.perf_counter()
        events.progress(dispatch)
        an_event.append(time.perf_counter() - began)
    return {
        "finish_us_per_request": 1e6 * float(np.median(a_request)),
        "event_us": 1e6 * float(np.median(an_event)),
    }


def main() -> None:
    results = {"parent_percent_of_a_core": parent(), "worker": worker()}
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
