"""Nodes and cases for tests of placement."""

from __future__ import annotations

from typing import Any

from llmbench.fleet.nodes import Node
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario

GIB = 2**30
SMALL = Node("1", "ant", "small", None, {"CPU": 4.0, "memory": 8.0 * GIB})
BIG = Node("2", "cat", "H100", "H100", {"CPU": 8.0, "GPU": 2.0, "memory": 64.0 * GIB, "tape": 2.0})
HEAD = Node("3", "head", "small", None, {"memory": 8.0 * GIB})


def case(resources: dict[str, Any] | None = None, **more: Any) -> Case:
    spec = {
        "name": "fleet",
        "model": "random:tiny",
        "workload": {"kind": "synthetic", "prompt_tokens": 8, "output_tokens": 4},
        "load": {"kind": "closed", "concurrency": 1},
        "backends": ["fake"],
        "requests": 4,
        **({"resources": resources} if resources else {}),
        **more,
    }
    return Case.of(Scenario.model_validate(spec), {})
