"""The points of a sweep in words, and the range of a metric over them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from llmbench.analysis.metrics import METRICS
from llmbench.report.results import CaseResults
from llmbench.report.table import show
from llmbench.report.wording import MAX_NAMED, listed
from llmbench.scenario.cases import case_name
from llmbench.units import parse_rate

LOADS = {"load.rate": "{:g}/s", "load.concurrency": "concurrency {:g}"}

Curve = list[tuple[str, CaseResults]]  # cases with their load as text, in order of load


def load_key(cases: Sequence[CaseResults]) -> str | None:
    """Return the swept key of the load, ``load.rate`` or ``load.concurrency``; None if neither."""
    return next((key for key in LOADS if any(key in case.point for case in cases)), None)


def by_load(cases: Sequence[CaseResults], key: str) -> dict[str, Curve]:
    """Return the cases by backend and other swept keys, in order of load."""
    curves: dict[str, list[tuple[float, CaseResults]]] = {}
    for case in cases:
        if key in case.point:
            others = {k: v for k, v in case.point.items() if k != key}
            name = case_name(case.backend, others)
            curves.setdefault(name, []).append((parse_rate(case.point[key]), case))
    return {
        name: [(LOADS[key].format(at), case) for at, case in sorted(curve, key=lambda c: c[0])]
        for name, curve in curves.items()
    }


def by_point(cases: Sequence[CaseResults], keys: Collection[str]) -> dict[str, list[CaseResults]]:
    """Return the cases by their values of some swept keys, as text; loads in order."""
    load = load_key(cases)
    if load and [*keys] == [load]:
        cases = sorted(cases, key=lambda case: parse_rate(case.point[load]))
    groups: dict[str, list[CaseResults]] = {}
    for case in cases:
        groups.setdefault(_point(case, keys), []).append(case)
    return groups


def _point(case: CaseResults, keys: Collection[str]) -> str:
    """Return a case's values of swept keys: ``8/s`` of a load alone, else ``engine.slots=4``."""
    point = {key: value for key, value in case.point.items() if key in keys}
    if len(point) == 1 and (load := LOADS.get(*point)):
        return load.format(parse_rate(*point.values()))
    return ", ".join(f"{key}={value}" for key, value in point.items())


def at_points(points: Sequence[str], every: Sequence[str]) -> str:
    """Return where something holds: ``at 2/s and 4/s``, ``from 2/s to 12/s``."""
    if len(points) == len(every):
        return "at every point"
    if len(points) <= MAX_NAMED:
        return f"at {listed(points)}"
    first, last = every.index(points[0]), every.index(points[-1])
    if last - first + 1 == len(points):
        return f"from {points[0]} to {points[-1]}"
    return f"at {len(points):,} of {len(every):,} points"


def ranges(cases: Sequence[CaseResults], metrics: Sequence[str]) -> Iterator[str]:
    """Yield the least and the greatest value of metrics over a sweep, a sentence per backend."""
    backends: dict[str, list[CaseResults]] = {}
    for case in cases:
        backends.setdefault(case.backend, []).append(case)
    for backend, of_backend in backends.items():
        for metric in metrics:
            yield f"{METRICS[metric].label} of {backend}{_range(of_backend, metric)}."


def _range(cases: Sequence[CaseResults], metric: str) -> str:
    known = [(case.estimates[metric].value, case) for case in cases]
    values = sorted(
        ((value, case) for value, case in known if value is not None), key=lambda one: one[0]
    )
    if not values:
        return f" is unknown: {cases[0].estimates[metric].reason}"
    unit = METRICS[metric].unit
    ends = [f"{show(value, unit)} at {_point(case, case.point)}" for value, case in values]
    return f": {' to '.join(dict.fromkeys((ends[0], ends[-1])))}"
