"""Comparison of two run sets: their differences, and a verdict for every metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llmbench.analysis.compare.covariates import Covariate, covariates
from llmbench.analysis.compare.differences import Difference
from llmbench.analysis.compare.judge import (
    CHANGED,
    CasePair,
    Processes,
    Verdicts,
    control_false_discoveries,
)
from llmbench.analysis.stats import geometric_mean
from llmbench.runs.remote import address
from llmbench.runs.run_set import RunSet

# the smallest relevant change, as a fraction, unless a scenario sets its own
TOLERANCES = {
    "ttft_p50": 0.03,
    "tpot_p50": 0.03,
    "e2e_p50": 0.03,
    "e2e_p95": 0.05,
    "ttft_p99": 0.10,
    "output_tokens_per_second": 0.03,
}


@dataclass(frozen=True, slots=True)
class CaseComparison:
    """One case of both sides: differences, and a verdict for every compared metric.

    ``values`` has the geometric means of both sides for each metric with a change; ``covariates``
    lists what else changed, if a metric changed.
    """

    case: str
    baseline_runs: int
    candidate_runs: int
    differences: tuple[Difference, ...]
    verdicts: Verdicts
    values: Mapping[str, tuple[float, float]]
    covariates: tuple[Covariate, ...] = ()

    @classmethod
    def of(cls, case: str, pair: CasePair, verdicts: Verdicts) -> CaseComparison:
        """Return a case's comparison, with covariates only if a metric changed."""
        baseline, candidate = pair.baseline.runs, pair.candidate.runs
        changed = any(verdict.outcome in CHANGED for verdict in verdicts.values())
        moved = covariates(baseline, candidate, pair.differences) if changed else ()
        values = {key: _means(pair, key) for key, verdict in verdicts.items() if verdict.change}
        counts = len(baseline), len(candidate)
        return cls(case, *counts, pair.differences, verdicts, values, moved)

    @property
    def changed(self) -> bool:
        """Whether any metric changed."""
        return any(verdict.outcome in CHANGED for verdict in self.verdicts.values())


def _means(pair: CasePair, key: str) -> tuple[float, float]:
    baseline, candidate, _ = pair.values(key)
    return float(geometric_mean(baseline)), float(geometric_mean(candidate))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A candidate compared with a baseline.

    ``missing`` has the cases that the candidate lacks, ``extra`` those that the baseline lacks.
    """

    baseline: RunSet
    candidate: RunSet
    cases: tuple[CaseComparison, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as JSON data."""
        return {
            "baseline": address(self.baseline.folder),
            "candidate": address(self.candidate.folder),
            "cases": [
                {
                    "case": case.case,
                    "processes": [case.baseline_runs, case.candidate_runs],
                    "differences": list(map(asdict, case.differences)),
                    "values": dict(case.values),
                    "verdicts": {key: asdict(verdict) for key, verdict in case.verdicts.items()},
                    "causes": list(map(asdict, case.covariates)),
                }
                for case in self.cases
            ],
            "missing": self.missing,
            "extra": self.extra,
        }


def compare(
    baseline: RunSet, candidate: RunSet, tolerances: Mapping[str, float] = TOLERANCES
) -> Comparison:
    """Compare the cases of the same name in two run sets, or the only case of each.

    Changes beyond their tolerance count if they are significant at a false discovery rate of 5 %
    over all cases and metrics.
    """
    before, after = _measured(baseline), _measured(candidate)
    names = matched(before, after)
    pairs = [CasePair(before[one], after[other]) for one, other in names]
    judged = [
        {key: pair.verdict(key, share) for key, share in tolerances.items()} for pair in pairs
    ]
    verdicts = control_false_discoveries(judged, lambda _: True)
    titles = [one if one == other else f"{one} → {other}" for one, other in names]
    return Comparison(
        baseline,
        candidate,
        tuple(map(CaseComparison.of, titles, pairs, verdicts)),
        tuple(case for case in before if case not in {one for one, _ in names}),
        tuple(case for case in after if case not in {other for _, other in names}),
    )


def matched(baseline: Collection[str], candidate: Collection[str]) -> list[tuple[str, str]]:
    """Return pairs of cases with the same name on both sides, or the only case of each side."""
    pairs = [(case, case) for case in baseline if case in candidate]
    if not pairs and len(baseline) == len(candidate) == 1:
        return [(next(iter(baseline)), next(iter(candidate)))]
    return pairs


def _measured(run_set: RunSet) -> dict[str, Processes]:
    return {case: Processes.of(runs) for case, runs in run_set.by_case().items() if runs}
