"""Differences between the runs of two cases, and whether they are comparable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from llmbench.analysis.energy import GAINS, WALL, wall_series
from llmbench.errors import Unavailable
from llmbench.runs.run import Run

DifferenceKind = Literal["scenario", "hardware", "software", "setting"]

# scenario keys that do not affect the measurement; the hardware facts tell where it was placed
LABELS = {
    "name", "description", "backends", "repeats", "slo", "price_per_hour", "collect", "timeout",
    "sweep", "quality", "keep_outputs", "gate", "energy", "seed_per_repeat",
    "rerun_contaminated", "imported", "resources", "nodes",
}  # fmt: skip
CHECKED = "model.self_check"  # before a load, which it does not affect
HARDWARE = (
    "cpu.model", "cpu.usable_cores", "cpu.governor", "cpu.turbo", "system.machine", "gpus",
    "container.cpu_limit_cores",
)  # fmt: skip
SOFTWARE = ("llmbench", "system.python", "system.kernel", "packages", "variables")
CACHE = "cache"  # the effective setting of an endpoint
MOST_NAMED = 2
ACROSS_CARDS = 0.10  # between the meters of two devices, whose gains differ as in energy.GAINS
GPU_FACTS = ("name", "memory_bytes", "driver", "power_limit_watts", "mig")


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting or property of the environment that differs between baseline and candidate."""

    kind: DifferenceKind
    what: str
    baseline: str
    candidate: str

    def __str__(self) -> str:
        return f"{self.what}: {self.baseline} → {self.candidate}"


def differences(baseline: Iterable[Run], candidate: Iterable[Run]) -> list[Difference]:
    """Return the settings and environment facts that differ between the runs of two cases."""
    baseline, candidate = tuple(baseline), tuple(candidate)
    before, after = facts(baseline), facts(candidate)
    changed = [
        Difference(*fact, as_text(before.get(fact)), as_text(after.get(fact)))
        for fact in {**before, **after}
        if before.get(fact) != after.get(fact)
    ]
    return [
        *changed,
        *_schedule_differences(baseline, candidate),
        *_cache_differences(baseline, candidate),
    ]


def _schedule_differences(
    baseline: Iterable[Run], candidate: Iterable[Run]
) -> Iterator[Difference]:
    """Yield the first repeat measured on both sides that had different schedules, if any."""
    before, after = schedules(baseline), schedules(candidate)
    for repeat in sorted(before.keys() & after.keys()):
        if before[repeat] != after[repeat]:
            what = f"schedule of repeat {repeat}"
            yield Difference("scenario", what, before[repeat][:12], after[repeat][:12])
            return


def _cache_differences(baseline: Iterable[Run], candidate: Iterable[Run]) -> Iterator[Difference]:
    """Yield a difference if both sides are servers whose prompt caches were in other states."""
    before, after = (
        {run.backend_report.get("effective", {}).get(CACHE) for run in runs} - {None}
        for runs in (baseline, candidate)
    )
    if before and after and before != after:
        yield Difference("scenario", "prompt cache", as_text(before), as_text(after))


def schedules(runs: Iterable[Run]) -> dict[int, str]:
    """Return the hash of each repeat's schedule, where known."""
    known = ((run.repeat, run.facts.get("schedule_sha256")) for run in runs)
    return {repeat: schedule for repeat, schedule in known if schedule}


def forbids(
    differing: Iterable[Difference], kinds: Iterable[DifferenceKind] = ("scenario",)
) -> str:
    """Return why differences of these kinds forbid a comparison; empty if there are none."""
    ruling = [difference for difference in differing if difference.kind in kinds]
    if not ruling:
        return ""
    more = f" and {len(ruling) - MOST_NAMED} more" if len(ruling) > MOST_NAMED else ""
    named = " and ".join(dict.fromkeys(difference.kind for difference in ruling))
    return f"the {named} differs ({'; '.join(map(str, ruling[:MOST_NAMED]))}{more})"


Facts = dict[tuple[DifferenceKind, str], set[str]]


def facts(runs: Iterable[Run]) -> Facts:
    """Return the settings and environment facts of runs, each with its distinct values."""
    gathered: Facts = {}
    for run in runs:
        for kind, what, value in _of_run(run):
            gathered.setdefault((kind, what), set()).add(value)
    return gathered


def _of_run(run: Run) -> Iterator[tuple[DifferenceKind, str, str]]:
    for what, value in _flat({k: v for k, v in run.case.spec.items() if k not in LABELS}, ""):
        if what != CHECKED:
            yield "scenario", what, value
    for what, value in hardware_of(run.environment).items():
        yield "hardware", what, value
    for what in SOFTWARE:
        for inner, value in _flat(_at(run.environment, what), what):
            yield "software", inner, value
    for what, value in _flat(run.backend_report.get("effective", {}), ""):
        if what != CACHE:  # a difference of the scenario
            yield "setting", what, value


def hardware_of(environment: dict[str, Any]) -> dict[str, str]:
    """Return the hardware facts that must match for timings to be comparable."""
    return {what: _hardware(_at(environment, what)) for what in HARDWARE}


def _hardware(fact: Any) -> str:
    """Return a hardware fact as text; for GPUs, only what does not change between runs."""
    if not isinstance(fact, list):
        return str(fact)
    cards = [", ".join(str(gpu[name]) for name in GPU_FACTS if name in gpu) for gpu in fact]
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


def as_text(values: set[str] | None) -> str:
    """Return the values of a setting or environment fact, joined as text."""
    return " / ".join(sorted(values)) if values else "not there"


# -- energy ----------------------------------------------------------------------------------------


def meters_of(run: Run) -> dict[str, tuple[str, str]]:
    """Return the method and device id of each energy meter of a run, by the meter's name."""
    if wall_series(run):
        return {WALL: (WALL, "")}
    return {
        name: (facts["method"], facts.get("uuid", ""))
        for name, facts in run.facts.get("energy", {}).items()
        if not facts.get("unavailable")
    }


def energy_allowance(baseline: Iterable[Run], candidate: Iterable[Run]) -> float:
    """Return the relative difference that the meters of both sides may show for equal energies.

    0 on the same devices, since the gain error cancels. Raise Unavailable if the energies are not
    comparable: measured by different methods, or on different devices of unknown gain error.
    """
    sides = [
        {tuple(sorted(meters_of(run).items())) for run in runs} for runs in (baseline, candidate)
    ]
    if sides[0] == sides[1]:
        return 0.0
    methods = [_methods(side) for side in sides]
    if methods[0] != methods[1]:
        raise Unavailable(
            f"energy was measured by {methods[0]} in the baseline and by {methods[1]} in the "
            "candidate"
        )
    if GAINS.get(methods[0]) is None:
        raise Unavailable(
            f"energy was measured on different devices, and the gain error of {methods[0]} between "
            "devices is unknown"
        )
    return ACROSS_CARDS


def _methods(side: set[Any]) -> str:
    return " + ".join(sorted({method for meters in side for _, (method, _) in meters})) or "nothing"
