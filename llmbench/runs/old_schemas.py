"""Conversion of run sets of versions 4 and 5 and profiles of version 1 to the current schema.

Up to version 5 all repeats had the seed of the scenario, and all cases sent a server the same
prompts. Version 4 repeated the case in every planned run, with the unnormalized spec, and named the
backend report's fields differently.

What a conversion needs is checked before it; all raise FileError, with the file and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from llmbench.errors import FileError, shown
from llmbench.runs.checking import checked
from llmbench.scenario.cases import normal_spec

OLDEST, BEFORE_DRAWS, OLDEST_PROFILE = 4, 5, 1
BEFORE_CACHES = "same prompts"
REPORT_KEYS = {"model": "model_costs", "roof": "device_peaks"}
COLUMNS = {"tokenise_seconds": "tokenize_seconds"}

Plain = dict[str, Any]


class _Case(Struct):
    case: str
    slug: str
    point: Plain


class _CaseWithSpec(_Case):
    spec: Plain


class _Manifest4(Struct):
    plan: list[_CaseWithSpec]


class _Spec(Struct):
    spec: Plain


class _Manifest5(Struct):
    cases: list[_Spec]


class _Report(Struct):
    reasons: Plain = {}
    effective: Plain = {}


class _Run4(Struct):
    account: _Report


class _Run5(Struct):
    backend_report: _Report


class _Profile1(Struct):
    cases: list[_Case]


def upgraded_manifest(stored: Plain, path: Path, remedy: str) -> Plain:
    """Return a `runset.json`'s content in the current schema: cases separate from the plan."""
    if stored["schema_version"] > BEFORE_DRAWS:
        return stored
    if "cases" in stored:
        checked(stored, _Manifest5, path, remedy)
        cases = stored["cases"]
    else:
        checked(stored, _Manifest4, path, remedy)
        cases = list({r["case"]: _case(r, path, remedy) for r in stored["plan"]}.values())
    return {**stored, "cases": [{**c, "spec": spec_before_draws(c["spec"])} for c in cases]}


def spec_before_draws(spec: Plain) -> Plain:
    """Return the spec of a run whose repeats all had the same seed, saying so.

    Imported cases, which have no workload, are unchanged.
    """
    return {**spec, "seed_per_repeat": False} if "workload" in spec else spec


def upgraded_run(stored: Plain, path: Path, remedy: str) -> Plain:
    """Return a `run.json`'s content in the current schema."""
    if stored["schema_version"] > BEFORE_DRAWS:
        return stored
    if "account" in stored:
        checked(stored, _Run4, path, remedy)
        report = _renamed(stored["account"])
    else:
        checked(stored, _Run5, path, remedy)
        report = stored["backend_report"]
    reasons, effective = _renamed(report.get("reasons", {})), report.get("effective", {})
    if "connections" in effective:  # of an endpoint
        effective = {**effective, "cache": BEFORE_CACHES}
    report = {**report, "reasons": reasons, "effective": effective}
    return {**stored, "backend_report": report}


def upgraded_profile(stored: Plain, path: Path, remedy: str) -> Plain:
    """Return a `profile.json`'s content in the current schema: whole cases, without their specs."""
    if stored["schema_version"] != OLDEST_PROFILE:
        return stored
    checked(stored, _Profile1, path, remedy)
    cases = [
        {**case, "case": _case({**case, "spec": {}}, path, remedy)} for case in stored["cases"]
    ]
    return {**stored, "cases": cases}


def _case(stored: Plain, path: Path, remedy: str) -> Plain:
    """Return the case of a stored run, with the backend kind, which old plans did not contain."""
    try:
        spec = normal_spec(stored["spec"])
    except ValueError as error:
        problem = f"not in llmbench's format: case {shown(stored['case'])}: spec: {error}"
        raise FileError(path, problem, remedy=remedy) from None
    return {
        "name": stored["case"],
        "slug": stored["slug"],
        "backend": stored.get("backend") or _first_kind(spec.get("backends")),
        "point": stored["point"],
        "spec": spec,
    }


def _first_kind(backends: object) -> object:
    match backends:
        case [{"kind": kind}, *_]:
            return kind
    return ""


def _renamed(stored: Plain) -> Plain:
    return {REPORT_KEYS.get(key, key): value for key, value in stored.items()}
