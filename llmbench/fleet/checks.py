"""Checks of cases on the nodes that would measure them, whose files and packages count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from llmbench.campaign import plan
from llmbench.errors import InputError
from llmbench.fleet import placement
from llmbench.fleet.connect import Cluster, on
from llmbench.fleet.launcher import lost_nodes_explained, variables_of
from llmbench.fleet.node_worker import adopt
from llmbench.fleet.nodes import Node
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario

CHECK_SECONDS = 30.0


def check_cases(cluster: Cluster, cases: Sequence[Case], places: Mapping[str, str]) -> None:
    """Raise InputError if a node lacks what a case needs, or a server refuses its first request.

    Each case is checked on one node that can hold it. A node that is in use is not waited for.
    """
    nodes = cluster.nodes()
    placement.check(cases, nodes)
    holders = [next(node for node in nodes if placement.can_hold(node, case)) for case in cases]
    placed = list(zip(cases, holders, strict=True))
    answers = {
        _begun(node, [case for case, holder in placed if holder == node], places): node
        for node in nodes
        if node in holders
    }
    answered, pending = ray.wait([*answers], num_returns=len(answers), timeout=CHECK_SECONDS)
    for answer in pending:
        ray.cancel(answer)
    for answer in answered:
        with lost_nodes_explained(answers[answer]):
            message: str | None = ray.get(answer)
        if message:
            raise InputError(f"{message} (on the node {answers[answer].name})")


def _begun(node: Node, cases: Sequence[Case], places: Mapping[str, str]) -> Any:
    """Begin the check of cases on a node, with one of its CPUs; return the pending answer."""
    messages = [{"name": case.name, "point": case.point, "spec": case.spec} for case in cases]
    variables = {name: text for each in messages for name, text in variables_of(each).items()}
    task: Any = ray.remote(mistake).options(**on(node.id, num_cpus=1), max_retries=0)
    return task.remote(messages, dict(places), variables, str(Path.cwd()))


def mistake(
    messages: Sequence[Mapping[str, Any]],
    places: Mapping[str, str],
    variables: Mapping[str, str],
    folder: str,
) -> str | None:
    """Return what is wrong with cases on this node, or None.

    ``variables`` and ``folder`` are those of `adopt`.
    """
    adopt(variables, folder)
    try:
        plan.check_here([_case(message) for message in messages], places)
    except InputError as error:
        return str(error)
    return None


def _case(message: Mapping[str, Any]) -> Case:
    scenario = Scenario.model_validate(message["spec"])
    return Case.of(scenario, message["point"], message["name"])
