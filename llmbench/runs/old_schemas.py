"""Conversion of run sets of versions 4 and 5 and profiles of version 1 to the current schema.

Up to version 5 all repeats had the seed of the scenario, and all cases sent a server the same
prompts. Version 4 repeated the case in every planned run, with the unnormalized spec, and named the
backend report's fields differently.
"""

from __future__ import annotations

from typing import Any

from llmbench.scenario.cases import normal_spec

OLDEST, BEFORE_DRAWS, OLDEST_PROFILE = 4, 5, 1
BEFORE_CACHES = "same prompts"
REPORT_KEYS = {"model": "model_costs", "roof": "device_peaks"}
COLUMNS = {"tokenise_seconds": "tokenize_seconds"}


def upgraded_manifest(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a `runset.json`'s content in the current schema: cases separate from the plan."""
    if stored["schema_version"] > BEFORE_DRAWS:
        return stored
    cases, plan = stored.get("cases"), stored["plan"]
    if cases is None:
        cases = list({run["case"]: _case(run) for run in plan}.values())
    return {**stored, "cases": [{**c, "spec": spec_before_draws(c["spec"])} for c in cases]}


def spec_before_draws(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a run whose repeats all had the same seed, saying so.

    Imported cases, which have no workload, are unchanged.
    """
    return {**spec, "seed_per_repeat": False} if "workload" in spec else spec


def upgraded_run(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a `run.json`'s content in the current schema."""
    if stored["schema_version"] > BEFORE_DRAWS:
        return stored
    report = _renamed(stored["account"]) if "account" in stored else stored["backend_report"]
    reasons, effective = _renamed(report.get("reasons", {})), report.get("effective", {})
    if "connections" in effective:  # of an endpoint
        effective = {**effective, "cache": BEFORE_CACHES}
    report = {**report, "reasons": reasons, "effective": effective}
    return {**stored, "backend_report": report}


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
