"""What two runs differ in besides what was measured, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from llmbench.analysis.energy import GAINS, WALL, has_wall
from llmbench.errors import Unavailable
from llmbench.runs.run import Run

Kind = Literal["scenario", "hardware", "software", "setting"]

# what a scenario may say without another thing being measured
LABELS = {
    "name", "description", "backends", "repeats", "slo", "price_per_hour", "collect", "timeout",
    "sweep", "quality", "keep_outputs", "gate", "energy",
}  # fmt: skip
HARDWARE = (
    "cpu.model", "cpu.usable_cores", "cpu.governor", "cpu.turbo", "system.machine", "gpus",
    "container.cpu_limit_cores",
)  # fmt: skip
SOFTWARE = ("llmbench", "system.python", "system.kernel", "packages", "variables")
MOST_NAMED = 2
ACROSS_CARDS = 0.10  # two gains of energy.GAINS, as the published ones scatter
GPU_FACTS = ("name", "memory_bytes", "driver", "power_limit_watts", "mig")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that baseline and candidate differ in."""

    kind: Kind
    what: str
    baseline: str
    candidate: str

    def __str__(self) -> str:
        return f"{self.what}: {self.baseline} → {self.candidate}"


def differences(baseline: Iterable[Run], candidate: Iterable[Run]) -> list[Difference]:
    """Name what the runs of two cases differ in; values that vary within a side are all given."""
    ours, theirs = facts(baseline), facts(candidate)
    return [
        Difference(kind, what, told(ours.get((kind, what))), told(theirs.get((kind, what))))
        for kind, what in {**ours, **theirs}
        if ours.get((kind, what)) != theirs.get((kind, what))
    ]


def forbids(found: Iterable[Difference], kinds: Iterable[Kind] = ("scenario",)) -> str:
    """Word the differences that make a comparison meaningless; empty where there are none."""
    named = [each for each in found if each.kind in kinds]
    if not named:
        return ""
    more = f" and {len(named) - MOST_NAMED} things more" if len(named) > MOST_NAMED else ""
    kinds_named = " and ".join(dict.fromkeys(each.kind for each in named))
    return f"the {kinds_named} differs ({'; '.join(map(str, named[:MOST_NAMED]))}{more})"


Facts = dict[tuple[Kind, str], set[str]]


def facts(runs: Iterable[Run]) -> Facts:
    """Gather what runs were asked and what they ran on, each fact with all its values."""
    found: Facts = {}
    for run in runs:
        for kind, what, value in _of_run(run):
            found.setdefault((kind, what), set()).add(value)
    return found


def _of_run(run: Run) -> Iterator[tuple[Kind, str, str]]:
    for what, value in _flat({k: v for k, v in run.case.spec.items() if k not in LABELS}, ""):
        yield "scenario", what, value
    if schedule := run.facts.get("schedule_sha256"):
        yield "scenario", "schedule", schedule[:12]
    for what, value in hardware_of(run.environment).items():
        yield "hardware", what, value
    for what in SOFTWARE:
        for inner, value in _flat(_at(run.environment, what), what):
            yield "software", inner, value
    for what, value in _flat(run.backend_report.get("effective", {}), ""):
        yield "setting", what, value


def hardware_of(environment: dict[str, Any]) -> dict[str, str]:
    """Give what of a machine has to be the same for its timings to be compared."""
    return {what: _hardware(_at(environment, what)) for what in HARDWARE}


def _hardware(found: Any) -> str:
    """Write a fact; of GPUs, what stays the same from night to night."""
    if not isinstance(found, list):
        return str(found)
    cards = [", ".join(str(gpu[f]) for f in GPU_FACTS if f in gpu) for gpu in found]
    return " + ".join(cards)


def _at(node: Any, path: str) -> Any:
    for key in path.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _flat(node: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from _flat(inner, f"{at}.{key}" if at else str(key))
    else:
        yield at, str(node)


def told(values: set[str] | None) -> str:
    """Write the values of a fact."""
    return " / ".join(sorted(values)) if values else "not there"


# -- energy ----------------------------------------------------------------------------------------


def meters_of(run: Run) -> dict[str, tuple[str, str]]:
    """Give how each part of a run's energy was measured, and on which device."""
    if has_wall(run):
        return {WALL: (WALL, "")}
    return {
        name: (facts["method"], facts.get("uuid", ""))
        for name, facts in run.facts.get("energy", {}).items()
        if not facts.get("unavailable")
    }


def energy_allowance(ours: Iterable[Run], theirs: Iterable[Run]) -> float:
    """Give the share by which energies of two sides may differ though nothing does.

    0 on the same devices, where a gain cancels. Raises Unavailable where they cannot be compared at
    all: measured in different ways, or on devices whose gain nobody knows.
    """
    sides = [{tuple(sorted(meters_of(run).items())) for run in runs} for runs in (ours, theirs)]
    if sides[0] == sides[1]:
        return 0.0
    methods = [_methods(side) for side in sides]
    if methods[0] != methods[1]:
        raise Unavailable(f"energy was measured by {methods[0]} and by {methods[1]}")
    if GAINS.get(methods[0]) is None:
        raise Unavailable(f"how far {methods[0]} is off on two devices is not known")
    return ACROSS_CARDS


def _methods(side: set[Any]) -> str:
    return " + ".join(sorted({method for meters in side for _, (method, _) in meters})) or "nothing"
