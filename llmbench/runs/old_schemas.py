"""Conversion of run sets of version 4 and profiles of version 1 to the current schema on reading.

Version 4 repeated the case in every planned run, with the unnormalized spec, and named the backend
report's fields differently.
"""

from __future__ import annotations

from typing import Any

from llmbench.scenario.cases import normal_spec

OLDEST, OLDEST_PROFILE = 4, 1
REPORT_KEYS = {"model": "model_costs", "roof": "device_peaks"}
COLUMNS = {"tokenise_seconds": "tokenize_seconds"}


def upgraded_manifest(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a `runset.json`'s content in the current schema: cases separate from the plan."""
    if stored["schema_version"] != OLDEST:
        return stored
    cases = {run["case"]: _case(run) for run in stored["plan"]}
    plan = [{"case": run["case"], "repeat": run["repeat"]} for run in stored["plan"]]
    return {**stored, "cases": list(cases.values()), "plan": plan}


def upgraded_run(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a `run.json`'s content in the current schema: one case, current field names."""
    if stored["schema_version"] != OLDEST:
        return stored
    report = _renamed(stored["account"]) if "account" in stored else stored["backend_report"]
    reasons = _renamed(report.get("reasons", {}))
    return {**stored, "case": _case(stored), "backend_report": {**report, "reasons": reasons}}


def upgraded_profile(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a `profile.json`'s content in the current schema: whole cases, without their specs."""
    if stored["schema_version"] != OLDEST_PROFILE:
        return stored
    cases = [{**case, "case": _case({**case, "spec": {}})} for case in stored["cases"]]
    return {**stored, "cases": cases}


def _case(stored: dict[str, Any]) -> dict[str, Any]:
    """Return the case of a stored run, with the backend kind, which old plans did not contain."""
    spec = normal_spec(stored["spec"])
    (first, *_) = spec.get("backends") or [{}]
    return {
        "name": stored["case"],
        "slug": stored["slug"],
        "backend": stored.get("backend") or first.get("kind", ""),
        "point": stored["point"],
        "spec": spec,
    }


def _renamed(stored: dict[str, Any]) -> dict[str, Any]:
    return {REPORT_KEYS.get(key, key): value for key, value in stored.items()}
