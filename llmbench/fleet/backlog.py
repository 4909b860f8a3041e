"""The runs that a fleet has yet to measure, handed out to threads that serve nodes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

from llmbench.fleet.nodes import Node
from llmbench.fleet.placement import Claim, can_hold, claim_of, visible_gpus
from llmbench.runs.run import PlannedRun

MAX_ATTEMPTS = 3
Place = tuple[Claim, int | None]  # what a run claims, and how many of the GPUs it sees


def place_of(planned: PlannedRun, node: Node) -> Place:
    """Return what a run claims of a node, and how many of the claimed GPUs it sees."""
    return claim_of(planned.case, node), visible_gpus(planned.case)


class Backlog:
    """Planned runs in order. A run is waiting, in progress on a node, or finished.

    A node's thread asks for the place that the first suitable run needs, claims it, and then takes
    the first run of that place. So no run is bound to a node that another fleet has claimed.
    """

    def __init__(self, planned: Iterable[PlannedRun]) -> None:
        self._waiting = list(planned)
        self.total = len(self._waiting)
        self.in_progress: dict[str, tuple[PlannedRun, Node]] = {}
        self._begun = 0
        self._lost: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._is_stopped = False

    def next_place(self, node: Node) -> Place | None:
        """Wait for a run that the node can hold; return its place, or None if none will come."""
        with self._changed:
            while not self._is_over:
                if (planned := self._first(lambda run: can_hold(node, run.case))) is not None:
                    return place_of(planned, node)
                self._changed.wait()
            return None

    def next_run(self, node: Node, place: Place) -> PlannedRun | None:
        """Return the first waiting run of a place, or None."""
        with self._changed:
            return self._next_run(node, place)

    def take(self, node: Node, place: Place) -> tuple[PlannedRun, int] | None:
        """Return the first run of a place and its number among those begun, or None."""
        with self._changed:
            if (planned := self._next_run(node, place)) is None:
                return None
            self._waiting.remove(planned)
            self.in_progress[planned.name] = planned, node
            self._begun += 1
            return planned, self._begun

    def finish(self, planned: PlannedRun) -> None:
        """Count a run that is stored."""
        with self._changed:
            del self.in_progress[planned.name]
            self._changed.notify_all()

    def put_back(self, planned: PlannedRun) -> bool:
        """Let a run whose node was lost wait again, as the first one; False after MAX_ATTEMPTS."""
        with self._changed:
            self._lost[planned.name] += 1
            if self._lost[planned.name] >= MAX_ATTEMPTS:
                return False
            del self.in_progress[planned.name]
            self._begun -= 1
            self._waiting.insert(0, planned)
            self._changed.notify_all()
            return True

    def withdraw(self, is_hopeless: Callable[[PlannedRun], bool]) -> list[PlannedRun]:
        """Remove the waiting runs that are hopeless, and return them."""
        with self._changed:
            hopeless = [planned for planned in self._waiting if is_hopeless(planned)]
            self._waiting = [planned for planned in self._waiting if planned not in hopeless]
            self._changed.notify_all()
            return hopeless

    def stop(self) -> None:
        """Hand out no more runs."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    @property
    def is_stopped(self) -> bool:
        """Whether no more runs are handed out."""
        return self._is_stopped

    @property
    def is_over(self) -> bool:
        """Whether all runs are finished, or no more are handed out."""
        with self._changed:
            return self._is_over

    @property
    def _is_over(self) -> bool:
        return self._is_stopped or not (self._waiting or self.in_progress)

    def _next_run(self, node: Node, place: Place) -> PlannedRun | None:
        if self._is_stopped:
            return None
        return self._first(lambda run: can_hold(node, run.case) and place_of(run, node) == place)

    def _first(self, is_suitable: Callable[[PlannedRun], bool]) -> PlannedRun | None:
        return next((planned for planned in self._waiting if is_suitable(planned)), None)
