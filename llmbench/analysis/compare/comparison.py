"""Two run sets side by side: what differs between them, and a verdict for every metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llmbench.analysis.compare.covariates import Covariate, causes
from llmbench.analysis.compare.differences import Difference, differences, energy_allowance, forbids
from llmbench.analysis.compare.verdicts import Verdict, benjamini_hochberg, decide
from llmbench.analysis.metrics import METRICS, Value, summarize
from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.runs.store import RunSet

# the smallest change that matters, as a share, where a scenario sets none
TOLERANCES = {
    "ttft_p50": 0.03,
    "tpot_p50": 0.03,
    "e2e_p50": 0.03,
    "e2e_p95": 0.05,
    "ttft_p99": 0.10,
    "output_tokens_per_second": 0.03,
}

CHANGED = ("regression", "improvement")


@dataclass(frozen=True, slots=True)
class CaseComparison:
    """One case of both sides: what differs, and a verdict for every metric that is compared.

    ``causes`` has what else moved, where a metric changed.
    """

    case: str
    baseline_runs: int
    candidate_runs: int
    differences: tuple[Difference, ...]
    verdicts: dict[str, Verdict]
    causes: tuple[Covariate, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether some metric did."""
        return any(verdict.outcome in CHANGED for verdict in self.verdicts.values())

    def explained(self, ours: Sequence[Run], theirs: Sequence[Run]) -> CaseComparison:
        """Add what else moved, where a metric changed."""
        if not self.changed:
            return self
        return replace(self, causes=causes(ours, theirs, self.differences))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate against a baseline; ``missing`` and ``extra`` are what one side has alone."""

    baseline: RunSet
    candidate: RunSet
    cases: tuple[CaseComparison, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Give all of it as plain data."""
        return {
            "baseline": str(self.baseline.folder),
            "candidate": str(self.candidate.folder),
            "cases": [
                {
                    "case": case.case,
                    "processes": [case.baseline_runs, case.candidate_runs],
                    "differences": [asdict(each) for each in case.differences],
                    "verdicts": {name: asdict(v) for name, v in case.verdicts.items()},
                    "causes": [asdict(each) for each in case.causes],
                }
                for case in self.cases
            ],
            "missing": self.missing,
            "extra": self.extra,
        }


def compare(
    baseline: RunSet, candidate: RunSet, tolerances: Mapping[str, float] = TOLERANCES
) -> Comparison:
    """Compare the cases of the same name; two sets of one case each are compared as they are.

    Of all changes beyond their tolerance those are called so that survive a false discovery rate of
    5 % over the whole comparison.
    """
    ours, theirs = _measured(baseline), _measured(candidate)
    pairs = matched(ours, theirs)
    cases = [_compare(a, b, ours[a], theirs[b], tolerances) for a, b in pairs]
    found = [
        case.explained(ours[a], theirs[b])
        for case, (a, b) in zip(_discovered(cases), pairs, strict=True)
    ]
    return Comparison(
        baseline,
        candidate,
        tuple(found),
        tuple(case for case in ours if case not in {a for a, _ in pairs}),
        tuple(case for case in theirs if case not in {b for _, b in pairs}),
    )


def matched(ours: Collection[str], theirs: Collection[str]) -> list[tuple[str, str]]:
    """Pair the cases of two sides: those of the same name, or the only ones that there are."""
    pairs = [(case, case) for case in ours if case in theirs]
    if not pairs and len(ours) == len(theirs) == 1:
        return [(next(iter(ours)), next(iter(theirs)))]
    return pairs


def _measured(run_set: RunSet) -> dict[str, list[Run]]:
    return {case: runs for case, runs in run_set.by_case().items() if runs}


def _compare(
    name: str, other: str, ours: list[Run], theirs: list[Run], tolerances: Mapping[str, float]
) -> CaseComparison:
    found = differences(ours, theirs)
    why_not = forbids(found)
    sides = [[summarize(run) for run in runs] for runs in (ours, theirs)]
    verdicts = {
        key: Verdict("not comparable", None, tolerance, reason=why_not)
        if why_not
        else _verdict(key, (ours, theirs), sides, tolerance)
        for key, tolerance in tolerances.items()
    }
    title = name if name == other else f"{name} → {other}"
    return CaseComparison(title, len(ours), len(theirs), tuple(found), verdicts)


def _verdict(
    key: str,
    runs: tuple[list[Run], list[Run]],
    sides: Sequence[list[dict[str, Value]]],
    tolerance: float,
) -> Verdict:
    (ours, why), (theirs, why_too) = (values_of(key, side) for side in sides)
    if not ours or not theirs:
        return Verdict("not comparable", None, tolerance, reason=why or why_too)
    return judge(key, runs, (ours, theirs), tolerance)


def judge(
    name: str,
    runs: tuple[Sequence[Run], Sequence[Run]],
    values: tuple[Sequence[float], Sequence[float]],
    tolerance: float,
) -> Verdict:
    """Judge a metric from the processes there are.

    An energy only where both sides measured it alike, and on two devices only beyond what their
    gains may differ by.
    """
    try:
        allowed = energy_allowance(*runs) if is_energy(name) else 0.0
    except Unavailable as why:
        return Verdict("not comparable", None, tolerance, reason=str(why))
    better = METRICS[name].better
    assert better != "neither"  # noqa: S101 (no tolerance is set for such a metric)
    found = decide(*values, better, max(tolerance, allowed))
    if not allowed or found.outcome in CHANGED:
        return found
    reason = f"two devices may tell energies {100 * allowed:.0f} % apart that are the same"
    return replace(found, outcome="inconclusive", repeats=None, reason=reason)


def is_energy(name: str) -> bool:
    """Tell whether a metric is a share of an energy counter."""
    return name.startswith("energy_")


def values_of(name: str, summaries: Sequence[Mapping[str, Value]]) -> tuple[list[float], str]:
    """Give a metric's value of each process, and why it cannot be judged where that is so.

    A percentile that the sample of some process cannot support is not judged.
    """
    values = [summary[name] for summary in summaries]
    missing = [value for value in values if not value.value or value.value <= 0]
    if missing:
        return [], missing[0].reason or "a process has no value above 0"
    percent = name.rpartition("_p")[2]
    floor = min_samples_for_percentile(float(percent)) if percent.isdigit() else 0
    if (fewest := min(value.n for value in values)) < floor:
        return [], f"rests on {fewest} samples a process; needs {floor}"
    return [value.value for value in values if value.value], ""


def _discovered(cases: Sequence[CaseComparison]) -> list[CaseComparison]:
    """Leave open what does not survive among so many comparisons."""
    tested = [v for case in cases for v in case.verdicts.values() if v.p is not None]
    accepted = iter(benjamini_hochberg([v.p for v in tested if v.p is not None]))
    return [
        replace(
            case,
            verdicts={
                key: verdict
                if verdict.p is None or next(accepted) or verdict.outcome not in CHANGED
                else _left_open(verdict, len(tested))
                for key, verdict in case.verdicts.items()
            },
        )
        for case in cases
    ]


def _left_open(verdict: Verdict, tests: int) -> Verdict:
    reason = f"among {tests} comparisons chance may have made it; compare more processes"
    return replace(verdict, outcome="inconclusive", reason=reason)
