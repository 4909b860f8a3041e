"""Where the time of steps went: pure functions of a trace's events.

On the CPU each moment belongs to the innermost operator that the step's thread is in. On a GPU each
moment belongs to the kernel that runs; where several run at once it is divided among them. A moment
at which nothing runs is idle. So the shares of a step sum to the step.
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
    """What one step's time went to, by name and category."""

    seconds: defaultdict[Key, float] = field(default_factory=lambda: defaultdict(float))
    calls: Counter[Key] = field(default_factory=Counter)
    kernels: int = 0
    launches: int = 0

    def add(self, key: Key, seconds: float, calls: int = 1) -> None:
        self.seconds[key] += seconds
        self.calls[key] += calls


def break_down(events: Sequence[Event], device: str, first: int, count: int) -> Breakdown:
    """Say where the time of so many steps went, from a step's number on.

    ``device`` is torch's type of it. Raises MeasurementError when steps, or all that ran in them,
    are missing from the trace.
    """
    steps = steps_of(events, first, count)
    charges = list(_on_device(events, steps) if device == "cuda" else _on_host(events, steps))
    if not any(charge.kernels for charge in charges):
        raise MeasurementError(
            "the profiler saw nothing run in the steps; another one, such as nsys, may hold the "
            "device: with --nvtx the steps are in its timeline, and shares can be read there"
        )
    return _summed(steps, charges)


def _summed(steps: Sequence[Event], charges: Sequence[_Charge]) -> Breakdown:
    lengths = tuple(step.end - step.begin for step in steps)
    all_of_them = _Charge()
    for charge in charges:
        for key, seconds in charge.seconds.items():
            all_of_them.add(key, seconds, charge.calls[key])
    uses = [
        KernelUse(
            *key, all_of_them.calls[key] / len(steps), spent / len(steps), spent / sum(lengths)
        )
        for key, spent in all_of_them.seconds.items()
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
    """Charge each step's operators with the time that none inside them takes."""
    lane = steps[0].lane
    operators = [event for event in _operators(events) if event.lane == lane]
    owner = _owners(operators)
    for step, own in zip(steps, _by_step(operators, steps), strict=True):
        charge = _Charge()
        for event, seconds in zip(own, _own_times(own, step.end), strict=True):
            charge.add((event.name, _category(event, owner)), seconds)
        charge.kernels, charge.launches = len(own), _outermost(own)
        yield charge


def _operators(events: Iterable[Event]) -> list[Event]:
    """Give the operators in an order in which those around others come first."""
    found = (
        event
        for event in events
        if event.kind == OF_RUNTIME or (event.kind == OPERATOR and not is_wrapper(event.name))
    )
    # what takes no time holds nothing, so it comes before what begins with it
    return sorted(found, key=lambda event: (event.begin, event.end > event.begin, -event.end))


def _by_step(
    events: Iterable[Event],
    steps: Sequence[Event],
    moment: Callable[[Event], float] = lambda event: event.begin,
) -> list[list[Event]]:
    """Give each step the events whose moment lies within it."""
    begins = [step.begin for step in steps]
    found: list[list[Event]] = [[] for _ in steps]
    for event in events:
        at = moment(event)
        index = bisect_right(begins, at) - 1
        if index >= 0 and at < steps[index].end:
            found[index].append(event)
    return found


def _own_times(operators: Sequence[Event], end: float) -> list[float]:
    """Give the seconds of each operator that no later one inside it takes, up to an end."""
    own = [0.0] * len(operators)
    within: list[int] = []
    now = operators[0].begin if operators else end

    def go_on(until: float) -> None:
        nonlocal now
        while within and operators[within[-1]].end <= until:
            index = within.pop()
            own[index] += max(0.0, operators[index].end - now)
            now = max(now, operators[index].end)
        if within:
            own[within[-1]] += max(0.0, until - now)
        now = max(now, until)

    for index, operator in enumerate(operators):
        go_on(operator.begin)
        within.append(index)
    go_on(end)
    return own


def _outermost(operators: Iterable[Event]) -> int:
    """Count the operators that were not called by another one of their profiler's."""
    number, ends = 0, dict.fromkeys((OPERATOR, OF_RUNTIME), 0.0)
    for event in operators:
        if event.begin >= ends[event.kind]:
            number, ends[event.kind] = number + 1, event.end
    return number


def _owners(operators: Iterable[Event]) -> Callable[[float], str | None]:
    """Give what tells the category that owns a moment of the host, if one does."""
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
    """Charge each step's kernels with the time in which they ran, in it and on any stream.

    A kernel is of the step in which the host launched it, and of an owning operator if it was
    launched in one. The replay of a CUDA graph is one launch, so its kernels go by name alone.
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
    """Give the seconds of each kernel within a step; those that run at once share theirs."""
    shared = [0.0] * len(kernels)
    edges = sorted(
        (min(max(moment, step.begin), step.end), ends, index)
        for index, kernel in enumerate(kernels)
        for ends, moment in enumerate((kernel.begin, kernel.end))
    )
    running: set[int] = set()
    for (moment, ends, index), (following, _, _) in pairwise(edges):
        (running.discard if ends else running.add)(index)
        for each in running:
            shared[each] += (following - moment) / len(running)
    return shared
