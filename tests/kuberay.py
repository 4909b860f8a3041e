"""The keys of a RayJob: KubeRay's own, as its API reference lists them, and Kubernetes' pods.

Unknown keys are errors, as with `kubectl --validate=strict`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

KUBERNETES = "1.34"


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": [*required],
        "properties": properties,
        "additionalProperties": False,
    }


COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
TEXT: dict[str, Any] = {"type": "string"}
FLAG: dict[str, Any] = {"type": "boolean"}
TEXTS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}
TEMPLATE: dict[str, Any] = {"type": "object"}  # of a pod, which Kubernetes' schema checks
GROUP: dict[str, Any] = {"rayStartParams": TEXTS, "template": TEMPLATE, "labels": TEXTS}
WORKERS = _object(
    ("groupName", "template"),
    groupName=TEXT, replicas=COUNT, minReplicas=COUNT, maxReplicas=COUNT, **GROUP,
)  # fmt: skip
CLUSTER = _object(
    ("headGroupSpec",),
    rayVersion=TEXT,
    headGroupSpec=_object(("template",), **GROUP),
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
RAY_JOB = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata={"type": "object"},
    spec=_object(
        ("rayClusterSpec",),
        entrypoint=TEXT,
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        rayClusterSpec=CLUSTER,
    ),
)


def mistakes(job: dict[str, Any]) -> list[str]:
    """Return what is wrong with the keys of a RayJob, or else with the pods of its groups."""
    errors = Draft202012Validator(RAY_JOB).iter_errors(job)
    own = [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]
    return own or [*_of_pods(job)]


def _of_pods(job: dict[str, Any]) -> Iterator[str]:
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", ())):
        yield from of_kubernetes({"apiVersion": "v1", "kind": "Pod", **group["template"]})


def of_kubernetes(document: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with an object of Kubernetes."""
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield error.message


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a manifest."""
    return list(YAML(typ="safe").load_all(path))
