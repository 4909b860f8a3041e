"""The breakdown of step time by operator and category, from trace events.

On the CPU, time is self time: it belongs to the innermost operator on the step's thread. On a GPU,
it belongs to the running kernel and is divided equally among concurrent ones. Time in which nothing
runs is idle, so the fractions of a step sum to 1.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from llmbench.analysis.trace.categories import CATEGORIES, IDLE, OWNING, category_of, is_wrapper
from llmbench.analysis.trace.events import OF_RUNTIME, Event, steps_of
from llmbench.errors import MeasurementError
from llmbench.runs.profile import Breakdown, KernelUse

OPERATOR = "cpu_op"
KERNELS = {"kernel", "gpu_memcpy", "gpu_memset"}
HOST_CALLS = {"cuda_runtime", "cuda_driver"}
LAUNCH = re.compile(r"Launch")

Key = tuple[str, str]


@dataclass(slots=True)
class _Charge:
    """The seconds and calls in one step, by operator name and category."""

    seconds: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[Key] = field(default_factory=Counter)
    kernels: int = 0
    launches: int = 0

    def add(self, key: Key, seconds: float, calls: int = 1) -> None:
        self.seconds[key] += seconds
        self.calls[key] += calls


def break_down(events: Sequence[Event], device: str, first: int, count: int) -> Breakdown:
    """Return the time of ``count`` steps by operator and category, starting at step ``first``.

    ``device`` is torch's device type. Raise MeasurementError if the trace lacks steps or any
    events within them.
    """
    steps = steps_of(events, first, count)
    charges = list(_on_device(events, steps) if device == "cuda" else _on_host(events, steps))
    if not any(charge.kernels for charge in charges):
        raise MeasurementError(
            "the profiler recorded nothing in the steps; another profiler, such as nsys, may be "
            "using the device; stop it, or mark the steps in its timeline with --nvtx"
        )
    return _summed(steps, charges)


def _summed(steps: Sequence[Event], charges: Sequence[_Charge]) -> Breakdown:
    lengths = tuple(step.end - step.begin for step in steps)
    total = _Charge()
    for charge in charges:
        for key, seconds in charge.seconds.items():
            total.add(key, seconds, charge.calls[key])
    uses = [
        KernelUse(*key, total.calls[key] / len(steps), spent / len(steps), spent / sum(lengths))
        for key, spent in total.seconds.items()
    ]
    return Breakdown(
        step_seconds=lengths,
        busy_seconds=sum(use.seconds for use in uses),
        shares=_shares(uses),
        kernels=tuple(charge.kernels for charge in charges),
        launches=tuple(charge.launches for charge in charges),
        uses=tuple(sorted(uses, key=lambda use: -use.seconds)),
    )


def _shares(uses: Iterable[KernelUse]) -> dict[str, float]:
    shares = dict.fromkeys(CATEGORIES, 0.0)
    for use in uses:
        shares[use.category] += use.share
    shares[IDLE] = max(0.0, 1 - sum(shares.values()))
    return shares


# -- on the host -----------------------------------------------------------------------------------


def _on_host(events: Iterable[Event], steps: Sequence[Event]) -> Iterator[_Charge]:
    """Yield the self time of each step's operators."""
    lane = steps[0].lane
    operators = [event for event in _operators(events) if event.lane == lane]
    owner = _owners(operators)
    for step, own in zip(steps, _by_step(operators, steps), strict=True):
        charge = _Charge()
        for event, seconds in zip(own, _self_times(own, step.end), strict=True):
            charge.add((event.name, _category(event, owner)), seconds)
        charge.kernels, charge.launches = len(own), _outermost(own)
        yield charge


def _operators(events: Iterable[Event]) -> list[Event]:
    """Return a trace's operators sorted by start time, outer ones before nested ones."""
    operators = (
        event
        for event in events
        if event.kind == OF_RUNTIME or (event.kind == OPERATOR and not is_wrapper(event.name))
    )
    # a zero-length event contains nothing, so it precedes others with the same begin
    return sorted(operators, key=lambda event: (event.begin, event.end > event.begin, -event.end))


def _by_step(
    events: Iterable[Event],
    steps: Sequence[Event],
    moment: Callable[[Event], float] = lambda event: event.begin,
) -> list[list[Event]]:
    """Return the events of each step: those whose ``moment`` lies in the step."""
    begins = [step.begin for step in steps]
    by_step: list[list[Event]] = [[] for _ in steps]
    for event in events:
        at = moment(event)
        index = bisect_right(begins, at) - 1
        if index >= 0 and at < steps[index].end:
            by_step[index].append(event)
    return by_step


def _self_times(operators: Sequence[Event], end: float) -> list[float]:
    """Return each operator's self time (without nested operators), counted until ``end``."""
    own = [0.0] * len(operators)
    within: list[int] = []
    now = operators[0].begin if operators else end

    def advance(until: float) -> None:
        nonlocal now
        while within and operators[within[-1]].end <= until:
            index = within.pop()
            own[index] += max(0.0, operators[index].end - now)
            now = max(now, operators[index].end)
        if within:
            own[within[-1]] += max(0.0, until - now)
        now = max(now, until)

    for index, operator in enumerate(operators):
        advance(operator.begin)
        within.append(index)
    advance(end)
    return own


def _outermost(operators: Iterable[Event]) -> int:
    """Count the operators that are not nested in another operator of the same profiler."""
    number, ends = 0, dict.fromkeys((OPERATOR, OF_RUNTIME), 0.0)
    for event in operators:
        if event.begin >= ends[event.kind]:
            number, ends[event.kind] = number + 1, event.end
    return number


def _owners(operators: Iterable[Event]) -> Callable[[float], str | None]:
    """Return a function: the category of the outermost OWNING operator at a given time, or None."""
    outer: list[Event] = []
    for event in operators:
        owning = event.kind == OPERATOR and category_of(event.name) in OWNING
        if owning and (not outer or event.begin >= outer[-1].end):
            outer.append(event)
    begins = [event.begin for event in outer]

    def owner(moment: float) -> str | None:
        index = bisect_right(begins, moment) - 1
        if index < 0 or moment >= outer[index].end:
            return None
        return category_of(outer[index].name)

    return owner


def _category(event: Event, owner: Callable[[float], str | None]) -> str:
    owned = owner(event.begin) if event.kind == OPERATOR else None
    return owned or category_of(event.name)


# -- on a GPU --------------------------------------------------------------------------------------


def _on_device(events: Sequence[Event], steps: Sequence[Event]) -> Iterator[_Charge]:
    """Yield the time within each step of the kernels that it launched, on all streams.

    A kernel belongs to the step in which the host launched it, and to the owning operator that
    launched it, if any. The replay of a CUDA graph is a single launch, so its kernels are
    categorized by name only.
    """
    calls = [event for event in events if event.kind in HOST_CALLS]
    called: dict[int | None, float] = {
        call.correlation: call.begin for call in calls if call.correlation is not None
    }
    launches = [call for call in calls if LAUNCH.search(call.name)]
    kernels = [event for event in events if event.kind in KERNELS]

    def moment(kernel: Event) -> float:
        return called.get(kernel.correlation, kernel.begin)

    owner = _owners(event for event in _operators(events) if event.lane == steps[0].lane)
    parts = zip(steps, _by_step(kernels, steps, moment), _by_step(launches, steps), strict=True)
    for step, ran, launching in parts:
        charge = _Charge(kernels=len(ran), launches=len(launching))
        for kernel, seconds in zip(ran, _shared_times(ran, step), strict=True):
            category = owner(moment(kernel)) or category_of(kernel.name)
            charge.add((kernel.name, category), seconds)
        yield charge


def _shared_times(kernels: Sequence[Event], step: Event) -> list[float]:
    """Return each kernel's seconds in a step; overlap is divided equally between the kernels."""
    shared = [0.0] * len(kernels)
    edges = sorted(
        (min(max(moment, step.begin), step.end), ends, index)
        for index, kernel in enumerate(kernels)
        for ends, moment in enumerate((kernel.begin, kernel.end))
    )
    running: set[int] = set()
    for (moment, ends, index), (following, _, _) in pairwise(edges):
        (running.discard if ends else running.add)(index)
        for kernel in running:
            shared[kernel] += (following - moment) / len(running)
    return shared
