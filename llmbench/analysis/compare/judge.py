"""What may be said about two cases, from one value per process of either side.

The verdict on each metric is shared by `llmbench compare` and `llmbench check`; the check then
confirms suspected regressions. The headline of a report makes the claims about its cases.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmbench.analysis.compare.differences import (
    Difference,
    DifferenceKind,
    differences,
    energy_allowance,
    forbids,
)
from llmbench.analysis.compare.paired import (
    holm,
    min_repeats,
    p_of_ratios,
    repeats_needed,
    simultaneous_interval,
)
from llmbench.analysis.compare.verdicts import (
    Better,
    Verdict,
    benjamini_hochberg,
    decide,
    oriented_logs,
)
from llmbench.analysis.metrics import METRICS, Value, summarize
from llmbench.analysis.stats import Floats
from llmbench.errors import Unavailable
from llmbench.runs.run import Run

CHANGED = ("regression", "improvement")


@dataclass(frozen=True, slots=True)
class Processes:
    """The measured processes of one side of a case, each summarized once."""

    runs: tuple[Run, ...] = ()
    summaries: tuple[Mapping[str, Value], ...] = ()

    @classmethod
    def of(cls, runs: Iterable[Run]) -> Processes:
        """Compute the metrics of every run."""
        measured = tuple(runs)
        return cls(measured, tuple(map(summarize, measured)))

    def updated(self, runs: Sequence[Run]) -> Processes:
        """Return a copy with further runs of the same case; only new ones are summarized."""
        more = Processes.of(run for run in runs if run.repeat not in self.repeats)
        return Processes(self.runs + more.runs, self.summaries + more.summaries)

    @property
    def repeats(self) -> set[int]:
        """The repeat numbers of the processes."""
        return {run.repeat for run in self.runs}

    def only(self, repeats: Collection[int]) -> Processes:
        """Return the processes with these repeat numbers, in their order."""
        pairs = zip(self.runs, self.summaries, strict=True)
        kept = sorted((pair for pair in pairs if pair[0].repeat in repeats), key=_repeat)
        return Processes(tuple(run for run, _ in kept), tuple(summary for _, summary in kept))

    def values(self, key: str) -> tuple[list[float], str]:
        """Return a metric's value per process, or why the metric cannot be judged.

        A percentile is not judged if any process has too few samples for it.
        """
        values = [summary[key] for summary in self.summaries]
        missing = [value for value in values if not value.value or value.value <= 0]
        if missing:
            return [], missing[0].reason or "a process has no value above 0"
        if any(run.is_imported_summary for run in self.runs):
            return [value.value for value in values if value.value], ""
        floor = METRICS[key].min_samples
        if (fewest := min((value.n for value in values), default=0)) < floor:
            return [], f"a process has {fewest} samples; the percentile needs {floor}"
        return [value.value for value in values if value.value], ""

    def by_repeat(self, key: str) -> dict[int, float]:
        """Return a metric's value by repeat; empty if the metric cannot be judged."""
        return dict(zip((run.repeat for run in self.runs), self.values(key)[0], strict=False))


def _repeat(process: tuple[Run, Mapping[str, Value]]) -> int:
    return process[0].repeat


@dataclass(frozen=True)
class CasePair:
    """A case measured on both sides; differences of the kinds in ``ruling`` preclude verdicts."""

    baseline: Processes
    candidate: Processes
    ruling: tuple[DifferenceKind, ...] = ("scenario",)

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """The differences between the sides; empty if one of them was not measured."""
        sides = self.baseline.runs, self.candidate.runs
        return tuple(differences(*sides)) if all(sides) else ()

    @cached_property
    def incomparable(self) -> str:
        """Why the sides are not comparable; empty if they are."""
        return forbids(self.differences, self.ruling)

    @cached_property
    def summarized(self) -> str:
        """Which side has only values that another tool computed; empty if neither has."""
        sides = {"baseline": self.baseline, "candidate": self.candidate}
        named = [
            f"the {name} is a summary by {run.imported_from}"
            for name, side in sides.items()
            for run in side.runs[:1]
            if run.is_imported_summary
        ]
        return f"{' and '.join(named)}, whose values have no intervals" if named else ""

    def values(self, key: str) -> tuple[list[float], list[float], str]:
        """Return a metric's values of both sides, or why it cannot be judged."""
        for name, side in (("baseline", self.baseline), ("candidate", self.candidate)):
            if not side.runs:
                return [], [], f"the {name} has no measured run of this case"
        (baseline, reason), (candidate, other) = (
            self.baseline.values(key),
            self.candidate.values(key),
        )
        return baseline, candidate, reason or other

    def log_ratios(self, key: str) -> Floats:
        """Return how much better the candidate is, as a log ratio per repeat that both sides have.

        Empty if the metric cannot be judged.
        """
        baseline, candidate = self.baseline.by_repeat(key), self.candidate.by_repeat(key)
        common = sorted(baseline.keys() & candidate.keys())
        if not common:
            return np.empty(0)
        worse, improved = oriented_logs(
            [baseline[repeat] for repeat in common],
            [candidate[repeat] for repeat in common],
            better(key),
        )
        return worse - improved

    def allowance(self, key: str) -> float:
        """Return the relative difference that equal energies may show; 0 for other metrics.

        Raise Unavailable if the energies of the sides are not comparable.
        """
        if not key.startswith("energy_"):
            return 0.0
        return energy_allowance(self.baseline.runs, self.candidate.runs)

    def verdict(self, key: str, tolerance: float) -> Verdict:
        """Return the verdict on a metric from the available processes."""
        baseline, candidate, reason = self.values(key)
        if self.incomparable or not baseline or not candidate:
            return Verdict("not comparable", None, tolerance, reason=self.incomparable or reason)
        try:
            allowance = self.allowance(key)
        except Unavailable as unavailable:
            return Verdict("not comparable", None, tolerance, reason=str(unavailable))
        verdict = decide(baseline, candidate, better(key), max(tolerance, allowance))
        if self.summarized:
            return replace(verdict, outcome="inconclusive", repeats=None, reason=self.summarized)
        return limited_by_meters(verdict, allowance)


def limited_by_meters(verdict: Verdict, allowance: float) -> Verdict:
    """Return a verdict that claims no equality of energies whose meters may disagree."""
    if not allowance or verdict.outcome not in ("equivalent", "inconclusive"):
        return verdict
    reason = f"energy meters of two devices may disagree by {100 * allowance:.0f} %"
    return replace(verdict, outcome="inconclusive", repeats=None, reason=reason)


def better(key: str) -> Better:
    """Return whether lower or higher values of a gated metric are better."""
    direction = METRICS[key].better
    assert direction != "neither"  # noqa: S101 (metrics without a direction are rejected earlier)
    return direction


Verdicts = dict[str, Verdict]


def control_false_discoveries(
    judged: Sequence[Verdicts], is_tested: Callable[[Verdict], bool]
) -> list[Verdicts]:
    """Return verdicts by case; changes that may be due to chance become inconclusive.

    Changes remain if they are significant at a false discovery rate of 5 % over all tests.
    """
    tests = [v for case in judged for v in case.values() if v.p is not None and is_tested(v)]
    accepted = iter(benjamini_hochberg([v.p for v in tests if v.p is not None]))
    reason = f"may be due to chance among {len(tests)} comparisons; compare more processes"

    def controlled(verdict: Verdict) -> Verdict:
        if verdict.p is None or not is_tested(verdict) or next(accepted):
            return verdict
        if verdict.outcome not in CHANGED:
            return verdict
        return replace(verdict, outcome="inconclusive", reason=reason)

    return [{key: controlled(verdict) for key, verdict in case.items()} for case in judged]


# -- claims about the cases of one run set ---------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether a candidate is better than a baseline in a metric, among all claims of a report.

    ``repeats`` is the number of repeats that both cases have, ``needed`` an estimate of how many
    would support the claim (None: more than MOST_REPEATS). ``low`` and ``high`` bound how many
    times better it is, together with the bounds of all other claims; they are None with too few
    repeats to test. ``reason`` is why the metric cannot be judged.
    """

    repeats: int
    needed: int | None
    low: float | None = None
    high: float | None = None
    holds: bool = False
    reason: str = ""


def judge_claims(pairs: Sequence[tuple[CasePair, str]]) -> list[Claim]:
    """Return the claim of every pair and metric, judged together.

    Claims hold by Student's t of their log ratios with Holm's correction over all of them, so that
    a report makes any false claim with a probability of at most 5 %.
    """
    count, logs = len(pairs), [pair.log_ratios(key) for pair, key in pairs]
    ps = [float(p_of_ratios(r)) if len(r) >= min_repeats(count) else 1.0 for r in logs]
    accepted = holm(np.array(ps))
    return [
        replace(
            _claim(ratios, count),
            holds=bool(significant and ratios.mean() > 0),
            reason=pair.values(key)[2],
        )
        for (pair, key), ratios, significant in zip(pairs, logs, accepted, strict=True)
    ]


def _claim(logs: Floats, count: int) -> Claim:
    """Return what is known of one of ``count`` claims by its own log ratios."""
    n = len(logs)
    needed = repeats_needed(logs, count) if n > 1 else min_repeats(count)
    if n < min_repeats(count):
        return Claim(n, needed)
    return Claim(n, needed, *simultaneous_interval(logs, count))
