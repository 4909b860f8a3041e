"""Decisions per second of the engine's scheduler, for every queue policy.

    python benchmarks/scheduler.py

Many requests wait, and more come. A decision frees the place of a finished request, chooses the
next one, gives it the place, and queues another request, so that as many wait as before. The
rate is the median of several rounds; ``spread`` is their range, relative to it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count

import numpy as np
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from llmbench.backends.gc_freeze import frozen_gc
from llmbench.engine.queues import queue_of
from llmbench.engine.scheduler import ContinuousScheduler
from llmbench.engine.sequence import Sequence
from llmbench.runs.request import Request
from llmbench.scenario.queue_options import Queue

CLASSES = ("chat", "agents", "batch")
POLICIES = {
    "fifo": {"policy": "fifo"},
    "priority, levels": {"policy": "priority", "levels": list(CLASSES)},
    "priority, preempt": {"policy": "priority", "levels": list(CLASSES), "preempt": True},
    "priority, weights": {"policy": "priority", "weights": {"chat": 3, "agents": 2}},
    "shortest": {"policy": "shortest"},
    "shortest, max_wait": {"policy": "shortest", "max_wait": "5 s"},
    "fair, class": {"policy": "fair", "by": "class"},
    "fair, session": {"policy": "fair", "by": "session"},
    "fair, session, max_wait": {"policy": "fair", "by": "session", "max_wait": "5 s"},
}


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate of decisions of a policy."""

    policy: str
    waiting: int
    decisions_per_second: float
    us_per_decision: float
    spread: float


def sequences(seed: int) -> Iterator[Sequence]:
    """Yield requests of three classes and 1,000 sessions, a millisecond apart."""
    rng = np.random.default_rng(seed)
    for number in count():
        prompt, output, session = rng.integers([1, 1, 0], [512, 256, 1000]).tolist()
        request = Request(
            number, (1,) * prompt, output, session=session, request_class=CLASSES[number % 3]
        )
        yield Sequence(request, due=number / 1000, sent=number / 1000)


def rate(name: str, waiting: int, slots: int, decisions: int, rounds: int) -> Rate:
    queue = queue_of(TypeAdapter(Queue).validate_python(POLICIES[name]), {})
    scheduler = ContinuousScheduler(slots, queue=queue)
    arriving = sequences(seed=0)
    for sequence, _ in zip(arriving, range(waiting + slots), strict=False):
        scheduler.add(sequence, sequence.sent)
    for _ in range(slots):
        scheduler.next_to_prefill(scheduler.waiting.next(0.0).sent)
    rates = []
    for _ in range(rounds):
        coming = [next(arriving) for _ in range(decisions)]
        with frozen_gc():
            began = time.perf_counter()
            decide(scheduler, coming)
            rates.append(decisions / (time.perf_counter() - began))
    median = statistics.median(rates)
    return Rate(
        name, len(scheduler.waiting), median, 1e6 / median, (max(rates) - min(rates)) / median
    )


def decide(scheduler: ContinuousScheduler, coming: list[Sequence]) -> None:
    running = scheduler.running
    for sequence in coming:
        scheduler.retire(next(iter(running.values())))
        scheduler.next_to_prefill(sequence.sent)
        scheduler.add(sequence, sequence.sent)


def show(rates: list[Rate]) -> None:
    table = Table(title="Scheduling decisions", title_justify="left")
    for name in ("policy", "waiting", "decisions/s", "µs each", "spread"):
        table.add_column(name)
    for each in rates:
        table.add_row(
            each.policy,
            f"{each.waiting:,}",
            f"{each.decisions_per_second:,.0f}",
            f"{each.us_per_decision:.2f}",
            f"{100 * each.spread:.0f} %",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waiting", type=int, default=10_000)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--decisions", type=int, default=20_000, help="per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--policy", choices=POLICIES, help="one of the policies")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    shape = (arguments.waiting, arguments.slots, arguments.decisions, arguments.rounds)
    names = [arguments.policy] if arguments.policy else list(POLICIES)
    rates = [rate(name, *shape) for name in names]
    print(json.dumps([asdict(each) for each in rates], indent=1)) if arguments.json else show(rates)


if __name__ == "__main__":
    main()
