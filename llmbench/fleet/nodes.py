"""Nodes of a Ray cluster: their names, kinds and resources."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmbench import __version__
from llmbench.environment.hardware import cpu_readers
from llmbench.environment.probing import Reader
from llmbench.units import format_bytes

KIND_LABEL = "llmbench.io/kind"
ACCELERATOR_LABEL = "ray.io/accelerator-type"
ACCELERATOR = "accelerator_type:"  # the prefix of Ray's own resource
INTERNAL = ("node:", "object_store_memory", ACCELERATOR)


@dataclass(frozen=True, slots=True)
class Node:
    """A node that is alive.

    ``kind`` is the node's label ``llmbench.io/kind``, else its accelerator, else its CPU model.
    ``resources`` are Ray's, without its internal ones: CPU, GPU, memory in bytes, custom ones.
    """

    id: str
    name: str
    kind: str
    accelerator: str | None
    resources: Mapping[str, float]

    @property
    def cpus(self) -> float:
        """The number of CPUs that Ray counts on the node."""
        return self.resources.get("CPU", 0.0)

    def __str__(self) -> str:
        parts = [f"{key} {shown(key, value)}" for key, value in sorted(self.resources.items())]
        return f"{self.name} ({', '.join([self.kind, *parts])})"

    def as_fact(self) -> dict[str, Any]:
        """Return the node as runs store it."""
        return {"name": self.name, "kind": self.kind, "resources": dict(self.resources)}


def shown(resource: str, value: float) -> str:
    """Return an amount of one of Ray's resources, for display."""
    return format_bytes(value) if resource == "memory" else f"{value:g}"


def describe() -> dict[str, str]:
    """Return the versions of llmbench and Python, and the CPU model, where this is called."""
    model = Reader().read("cpu.model", cpu_readers(Path("/"))["model"])
    return {
        "llmbench": __version__,
        "python": platform.python_version(),
        "cpu_model": model or platform.machine(),
    }


def nodes_of(entries: Iterable[Mapping[str, Any]], cpu_models: Mapping[str, str]) -> list[Node]:
    """Return the nodes that are alive, by name, from the entries of ``ray.nodes()``.

    ``cpu_models`` are by node id. Nodes of one name also have the beginning of their id in it.
    """
    alive = [entry for entry in entries if entry["Alive"]]
    counts = Counter(name_of(entry) for entry in alive)
    nodes = [_node(entry, cpu_models, is_ambiguous=counts[name_of(entry)] > 1) for entry in alive]
    return sorted(nodes, key=lambda node: (node.name, node.id))


def _node(entry: Mapping[str, Any], cpu_models: Mapping[str, str], *, is_ambiguous: bool) -> Node:
    node_id, labels = entry["NodeID"], entry.get("Labels") or {}
    accelerator = _accelerator(entry["Resources"], labels)
    kind = labels.get(KIND_LABEL) or accelerator or cpu_models.get(node_id) or "unknown"
    return Node(
        id=node_id,
        name=f"{name_of(entry)}-{node_id[:6]}" if is_ambiguous else name_of(entry),
        kind=kind,
        accelerator=accelerator,
        resources={k: v for k, v in entry["Resources"].items() if not k.startswith(INTERNAL)},
    )


def name_of(entry: Mapping[str, Any]) -> str:
    """Return the name that the node was given, else that of its host."""
    given: str = entry.get("NodeName") or ""
    host: str = entry.get("NodeManagerHostname") or entry["NodeManagerAddress"]
    return given if given and given != entry["NodeManagerAddress"] else host


def _accelerator(resources: Mapping[str, float], labels: Mapping[str, str]) -> str | None:
    named = (key.removeprefix(ACCELERATOR) for key in resources if key.startswith(ACCELERATOR))
    return next(named, None) or labels.get(ACCELERATOR_LABEL)
