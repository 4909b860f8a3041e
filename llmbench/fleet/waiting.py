"""The claims that a cluster has not granted yet, and messages about those that take long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from llmbench.fleet.backlog import Backlog, Place
from llmbench.fleet.nodes import Node
from llmbench.runs.run import PlannedRun

PATIENCE_SECONDS = 20.0
NAMED_NODES = 2


class Waiting:
    """The claims that are not granted yet; the thread of each adds and removes it."""

    def __init__(self, backlog: Backlog, now: Callable[[], float] = time.time) -> None:
        self._backlog = backlog
        self._now = now
        self._claims: dict[object, tuple[Node, Place, float]] = {}

    @contextmanager
    def added(self, node: Node, place: Place) -> Iterator[None]:
        """Add a claim within the context."""
        key = object()
        self._claims[key] = node, place, self._now()
        try:
            yield
        finally:
            del self._claims[key]

    def messages(self) -> list[str]:
        """Return a message for each run that has waited for PATIENCE_SECONDS for other work to end.

        Claims on nodes that measure runs of this fleet are left out.
        """
        own = {node.id for _, node in list(self._backlog.in_progress.values())}
        runs: dict[str, list[tuple[Node, Place, float]]] = {}
        for node, place, since in list(self._claims.values()):
            planned = self._backlog.next_run(node, place)
            if planned and node.id not in own and self._now() - since >= PATIENCE_SECONDS:
                runs.setdefault(_name(planned), []).append((node, place, since))
        return [_message(name, claims) for name, claims in runs.items()]


def _name(planned: PlannedRun) -> str:
    return f"{planned.case}, repeat {planned.repeat}"


def _message(name: str, claims: list[tuple[Node, Place, float]]) -> str:
    begin = datetime.fromtimestamp(min(since for *_, since in claims), UTC).astimezone()
    wanted = [f"{claim} on {node.name}" for node, (claim, _), _ in claims[:NAMED_NODES]]
    others = len(claims) - len(wanted)
    wanted += [f"{others} other node{'s' * (others > 1)}"] if others else []
    return (
        f"{name} has waited since {begin:%H:%M:%S} for {' or '.join(wanted)}, "
        "in use by other work on the cluster"
    )
