"""The nodes that runs were measured on: their kinds, and how many machines and GPUs there were."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llmbench.analysis.devices import gpu_indices
from llmbench.runs.run import PlannedRun, Run

NODE = "node"  # the key of a case's point, and of a run's facts


@dataclass(frozen=True, slots=True)
class Measured:
    """The machines and the GPUs that runs were measured on, by name and by UUID."""

    nodes: frozenset[str]
    gpus: frozenset[str]

    @property
    def are_several(self) -> bool:
        """Whether a difference between two devices of the kind could show in the runs."""
        return len(self.gpus or self.nodes) > 1


def kind_of(planned: PlannedRun) -> str | None:
    """Return the kind of node of a run: where it was measured, or else where it is planned."""
    node = planned.facts.get(NODE) if isinstance(planned, Run) else None
    kind = (node or {}).get("kind") or planned.case.point.get(NODE)
    return None if kind is None else str(kind)


def measured_on(runs: Iterable[Run]) -> Measured:
    """Return the machines and GPUs of runs, as far as they recorded them."""
    known = list(runs)
    names = {(run.facts.get(NODE) or {}).get("name") for run in known}
    gpus = {uuid for run in known for uuid in gpus_of(run)}
    return Measured(frozenset(map(str, filter(None, names))), frozenset(gpus))


def gpus_of(run: Run) -> set[str]:
    """Return the UUIDs of a run's GPUs.

    These are the visible ones, of a local backend those that it used, or else all of its node.
    """
    visible, used = run.facts.get("gpus") or [], gpu_indices(run)
    chosen = [visible[index] for index in used if index < len(visible)]
    gpus = chosen or visible or run.environment.get("gpus") or []
    return {gpu["uuid"] for gpu in gpus if gpu.get("uuid")}
