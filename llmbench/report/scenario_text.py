"""The scenario as text, and the commands that reproduce it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llmbench.report.results import CaseResults, Results
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import readable, set_key
from llmbench.scenario.server_settings import is_server_key, with_mark

MOST_VALUES = 20  # of a swept key, listed
SWEPT = "(swept)"


def described(results: Results) -> list[tuple[str, str]]:
    """Return the scenario as pairs of label and text; empty for an empty plan."""
    return [(label, text) for label, text in _parts(results) if text]


def _parts(results: Results) -> Iterator[tuple[str, str]]:
    specs = [_unswept(case) for case in results.cases]
    yield "Imported", _of_all(specs, lambda spec: _imported(spec.get("imported")))
    yield "Model", _of_all(specs, lambda spec: wording(spec.get("model"), "source"))
    yield "Workload", _of_all(specs, lambda spec: wording(spec.get("workload")))
    yield "Load", _of_all(specs, lambda spec: wording(spec.get("load")))
    yield "Sweep", wording(_sweep(results))
    yield "Requests", _of_all(specs, _amount)
    yield "Ends early", _of_all(specs, lambda spec: wording(spec.get("stop")))
    yield "Abandonment", _of_all(specs, lambda spec: wording(spec.get("abandon"), "share"))
    yield "Repeats", _repeats(results)
    yield "Backends", "; ".join(dict.fromkeys(_backends(results)))
    yield "Engine", _of_all(specs, lambda spec: wording(spec.get("engine")))
    yield "Parallel", _of_all(specs, lambda spec: wording(spec.get("parallel")))
    yield "Objectives", _of_all(specs, lambda spec: _objectives(spec.get("slo") or {}))


def _unswept(case: CaseResults) -> dict[str, Any]:
    spec = readable(case.planned.case.spec)
    for key, value in case.point.items():
        if is_server_key(key):
            spec["backends"] = with_mark(spec["backends"], key, value, SWEPT)
        else:
            set_key(spec, key, SWEPT)
    return spec


def _of_all(specs: list[dict[str, Any]], describe: Callable[[dict[str, Any]], str]) -> str:
    """Join the distinct descriptions of all cases; imported cases may differ in any part."""
    return "; ".join(dict.fromkeys(filter(None, map(describe, specs))))


def _imported(source: dict[str, str] | None) -> str:
    return f"{source['file']}, by {source['tool']}" if source else ""


def wording(part: Any, leading: str = "kind") -> str:
    """Return a part of a scenario as ``kind, key value``, with nested options in parentheses."""
    if isinstance(part, list):
        return ", ".join(wording(item) for item in part)
    if not isinstance(part, dict):
        return "" if part is None else str(part)
    if list(part) == ["fixed"]:  # a fixed length
        return str(part["fixed"])
    head = [wording(part[leading])] if leading in part else []
    rest = (f"{key} {_inner(value)}" for key, value in part.items() if key != leading)
    return ", ".join([*head, *rest])


def _inner(value: Any) -> str:
    text = wording(value)
    return f"({text})" if " " in text and isinstance(value, dict) else text


def _sweep(results: Results) -> dict[str, list[str] | str]:
    """Return the values of each swept key, or the number of many values and their range."""
    values: dict[str, dict[str, Any]] = {}
    for case in results.cases:
        for key, value in case.point.items():
            values.setdefault(key, {})[str(value)] = value
    return {
        key: list(swept) if len(swept) <= MOST_VALUES else _range(list(swept.values()))
        for key, swept in values.items()
    }


def _range(values: list[Any]) -> str:
    number = f"{len(values):,} values"
    if not all(isinstance(value, int | float) for value in values):
        return number
    return f"{number} from {min(values):g} to {max(values):g}"


def _amount(spec: dict[str, Any]) -> str:
    parts = []
    if spec.get("requests"):
        parts.append(f"{spec['requests']} measured")
    if spec.get("duration"):
        parts.append(f"for {spec['duration']}")
    if spec.get("warmup"):
        is_auto = spec["warmup"] == "auto"
        warmup = "an automatic warm-up" if is_auto else f"{spec['warmup']} warm-up requests"
        parts.append(f"after {warmup}")
    return " ".join(parts)


def _repeats(results: Results) -> str:
    repeats = len({planned.repeat for planned in results.run_set.plan})
    if not repeats or "imported" in results.spec:
        return ""
    return f"{repeats}, each in a fresh process; cases interleaved in a seeded random order"


def _backends(results: Results) -> Iterator[str]:
    for case in results.cases:
        for backend in _unswept(case).get("backends") or []:
            yield _backend(backend)


def _backend(backend: dict[str, Any]) -> str:
    """Return a backend's name with its options in parentheses."""
    if "name" not in backend:
        return wording(backend)
    options = wording({key: value for key, value in backend.items() if key != "name"})
    return f"{backend['name']} ({options})"


def _objectives(slo: dict[str, Any]) -> str:
    return ", ".join(f"{key} ≤ {bound}" for key, bound in slo.items())


def is_open_loop(results: Results) -> bool:
    """Return whether the load of every case is open-loop: arrivals are independent of responses."""
    loads = [case.planned.case.spec.get("load") or {} for case in results.cases]
    kinds = [load.get("kind") for load in loads]
    return bool(kinds) and all(kind and kind != "closed" for kind in kinds)


def commands(run_set: RunSet) -> list[str]:
    """Return the commands that reproduce the measurement or import, and this report."""
    return [_first_command(run_set), f"llmbench report {shlex.quote(run_set.folder.name)}"]


def _first_command(run_set: RunSet) -> str:
    imported = [
        planned.case.spec["imported"] for planned in run_set.plan if "imported" in planned.case.spec
    ]
    if imported:
        files = dict.fromkeys(shlex.quote(source["file"]) for source in imported)
        return " ".join(["llmbench import", *files, "--out", shlex.quote(run_set.folder.name)])
    written = [origin for origin in run_set.origins.values() if not origin.startswith("--")]
    path = written[0].rpartition(":")[0] if written else "scenario.yaml"
    flags = overrides(run_set)
    if search := run_set.search:
        goal = "--maximize" if search.better == "higher" else "--minimize"
        against = [f"--against {metric}" for metric in search.against]
        budget = [f"--budget {shlex.quote(search.budget)}"] if search.budget else []
        arguments = [goal, search.metric, *flags, *against, *budget]
        return " ".join(["llmbench tune", _quoted(path), *arguments])
    return " ".join(["llmbench run", _quoted(path), *flags])


def overrides(run_set: RunSet) -> list[str]:
    """Return the overrides as flags for a shell: ``--over`` of a search, or ``--set``."""
    return [_flag(override, run_set.origins) for override in run_set.overrides]


def _flag(override: str, origins: Mapping[str, str]) -> str:
    typed = origins.get(override.partition("=")[0], "")
    if typed.startswith("--over "):
        key, _, values = override.removeprefix("sweep.").partition("=")
        return f"--over {shlex.quote(f'{key}={values[1:-1]}')}"
    return f"--set {shlex.quote(override)}"


def _quoted(path: str) -> str:
    """Return a path for a shell, which expands ``~`` only where it is not quoted."""
    below_home = path.removeprefix("~/")
    return shlex.quote(path) if below_home == path else f"~/{shlex.quote(below_home)}"
