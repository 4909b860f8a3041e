"""Placement: which nodes can hold a case, what a run claims there, and a case per kind of node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmbench.errors import InputError
from llmbench.fleet.nodes import Node, shown
from llmbench.scenario.cases import Case, case_name
from llmbench.scenario.file import Source
from llmbench.scenario.resources import ResourcesOptions
from llmbench.units import format_bytes

NODE = "node"  # the key of a case's point that has its kind of node
ANYTHING = ResourcesOptions()


@dataclass(frozen=True, slots=True)
class Claim:
    """The part of a node that a run has to itself."""

    cpus: float
    gpus: float = 0.0
    memory: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)

    @property
    def amounts(self) -> dict[str, float]:
        """What is claimed, by Ray's name of the resource."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory, **self.custom}
        return {name: amount for name, amount in named.items() if amount}

    def __str__(self) -> str:
        return ", ".join(f"{name} {shown(name, amount)}" for name, amount in self.amounts.items())

    def as_options(self) -> dict[str, object]:
        """Return the claim as Ray's options of an actor."""
        options: dict[str, object] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        options |= {"memory": self.memory} if self.memory else {}
        return options | ({"resources": dict(self.custom)} if self.custom else {})


def resources_of(case: Case) -> ResourcesOptions:
    """Return what a case asks for: by default, any node that has CPUs."""
    return case.scenario.resources or ANYTHING


def can_hold(node: Node, case: Case) -> bool:
    """Return whether a node, if nothing else ran there, has what a case asks for."""
    wanted = resources_of(case)
    needed = {"CPU": wanted.cpu or 1, "GPU": wanted.gpu or 0, "memory": wanted.memory or 0}
    has_all = all(node.resources.get(k, 0) >= v for k, v in {**needed, **wanted.custom}.items())
    is_kind = case.point.get(NODE, node.kind) == node.kind
    return has_all and is_kind and _has_accelerator(node, wanted.accelerator)


def _has_accelerator(node: Node, wanted: str | None) -> bool:
    return wanted is None or wanted.casefold() == (node.accelerator or "").casefold()


def claim_of(case: Case, node: Node) -> Claim:
    """Return what a run claims of a node: all CPUs and GPUs, unless it shares the node.

    Two claims of all CPUs exclude each other, also those of other fleets and other users of Ray.
    """
    wanted = resources_of(case)
    if not wanted.share:
        return Claim(node.cpus, node.resources.get("GPU", 0.0), 0, wanted.custom)
    return Claim(float(wanted.cpu or 1), float(wanted.gpu or 0), wanted.memory or 0, wanted.custom)


def visible_gpus(case: Case) -> int | None:
    """Return how many of the claimed GPUs a run sees; None: all of them."""
    wanted = resources_of(case)
    return 0 if wanted.share and wanted.gpu is None else wanted.gpu


def most_at_once(node: Node, cases: Iterable[Case]) -> int:
    """Return how many runs of the cases a node can hold at once, at most."""
    counts = [_fitting(claim_of(case, node), node) for case in cases if can_hold(node, case)]
    return max(counts, default=0)


def _fitting(claim: Claim, node: Node) -> int:
    return min(int(node.resources[name] / amount) for name, amount in claim.amounts.items())


def check(cases: Iterable[Case], nodes: Sequence[Node]) -> None:
    """Raise InputError for a case that no node can hold; the message has what each node has."""
    for case in cases:
        if not any(can_hold(node, case) for node in nodes):
            raise InputError(f"resources: {why_none(case, nodes)}")


def why_none(case: Case, nodes: Sequence[Node]) -> str:
    """Return a message about a case that no node can hold."""
    has = "; ".join(map(str, nodes)) or "there are none"
    return f"case {case}: no node has {_asked(case)}. Nodes: {has}"


def _asked(case: Case) -> str:
    wanted = resources_of(case)
    parts = [f"CPU {wanted.cpu or 1}"]
    parts += [f"GPU {wanted.gpu}"] if wanted.gpu else []
    parts += [f"memory {format_bytes(wanted.memory)}"] if wanted.memory else []
    parts += [f"accelerator {wanted.accelerator}"] if wanted.accelerator else []
    parts += [f"{name} {amount:g}" for name, amount in wanted.custom.items()]
    parts += [f"the kind {case.point[NODE]}"] if NODE in case.point else []
    return ", ".join(parts)


def expanded(cases: Sequence[Case], nodes: Sequence[Node]) -> tuple[Case, ...]:
    """Return the cases, those of `nodes: each` once for each kind of node that can hold them.

    Raises InputError if no node can hold a case.
    """
    check(cases, nodes)
    return tuple(one for case in cases for one in _on_kinds(case, nodes))


def placed(source: Source, nodes: Sequence[Node]) -> Source:
    """Return a scenario with its cases `expanded`."""
    return replace(source, cases=expanded(source.cases, nodes))


def _on_kinds(case: Case, nodes: Sequence[Node]) -> list[Case]:
    if case.scenario.nodes != "each":
        return [case]
    kinds = sorted({node.kind for node in nodes if can_hold(node, case)})
    return [_on_kind(case, kind) for kind in kinds]


def _on_kind(case: Case, kind: str) -> Case:
    point = {**case.point, NODE: kind}
    return Case.of(case.scenario, point, case_name(case.backend_name, point))
