"""KubeRay's schema of a RayJob, strict as `kubectl --validate=strict`: unknown keys are errors."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

SCHEMA = Path(__file__).parent / "data" / "kuberay" / "rayjob-v1.json.gz"


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(_strict(json.loads(gzip.decompress(SCHEMA.read_bytes()))))


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {"additionalProperties": False} if isinstance(node.get("properties"), dict) else {}
    return {**closed, **{key: _strict(inner) for key, inner in node.items()}}


def mistakes(manifest: dict[str, Any]) -> list[str]:
    """Return each key of a RayJob that KubeRay's schema refuses, and why."""
    errors = _validator().iter_errors(manifest)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the documents of a manifest."""
    return list(YAML(typ="safe").load_all(path))
