"""The ranking of cases by one metric, in words: claims where the runs support them, else figures.

Claims are judged together (analysis/compare/judge.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from llmbench.analysis.compare.judge import Claim
from llmbench.analysis.compare.paired import MOST_REPEATS
from llmbench.analysis.metrics import METRICS
from llmbench.report.results import CaseResults
from llmbench.report.table import PAIR, show, show_interval
from llmbench.report.wording import listed
from llmbench.scenario.cases import case_name
from llmbench.units import format_number

THROUGHPUT = "output_tokens_per_second"
MOST_COMPARED = 20  # cases; every pair of them is a claim to judge

Question = tuple[str, int, int]  # metric, better and other case
Claims = dict[Question, Claim]


class Outcome(NamedTuple):
    """Which case is better than which other, or why nothing is claimed; empty without a winner."""

    best: str = ""
    other: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Ranking:
    """The cases at one sweep point, ranked by one metric.

    ``point`` has the values of ``keys`` as text, ``doubted`` the names of cases.
    """

    metric: str
    point: str
    keys: tuple[str, ...]
    cases: Sequence[CaseResults]
    doubted: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def ranked(self) -> list[CaseResults]:
        """The cases with a known value of the metric, best first."""
        known = [case for case in self.cases if case.estimates[self.metric].value is not None]
        return sorted(known, key=self._value, reverse=self._higher_is_better)

    @cached_property
    def trusted(self) -> list[CaseResults]:
        """The ranked cases that may support claims: none among too many cases."""
        if self._are_many:
            return []
        return [case for case in self.ranked if case.name not in self.doubted]

    def sentence(self, claims: Claims) -> str:
        """Return what the claims allow to be said, also if that is only the figures."""
        conclusion = self._conclusion(claims)
        return f"At {self.point}: {conclusion}" if self.point else conclusion

    def _conclusion(self, claims: Claims) -> str:
        if not self.ranked:
            reason = self.cases[0].estimates[self.metric].reason
            return f"{self.label} is unknown: {reason}."
        if self._are_many:
            return f"{self.label}: {self._ends()}."
        if len(self.ranked) == 1:
            return f"{self.label} of {self._alone(self.ranked[0])}."
        if obstacle := self._obstacle(claims):
            return f"{self.label}: {self._figures()}; {obstacle}."
        return " ".join([*self._judged(claims), *self._left_out()])

    # -- a point of a sweep ------------------------------------------------------------------------

    def outcome(self, claims: Claims) -> tuple[Outcome, list[Claim]]:
        """Return the outcome at a point of a sweep, and the claims that it rests on."""
        if reason := self._no_claim(claims):
            return Outcome(reason=reason), []
        best, *others = self.trusted
        made = [self._claim(claims, best, other) for other in others]
        if not all(claim.holds for claim in made):
            return Outcome(), [claim for claim in made if not claim.holds]
        return Outcome(
            self._name(best), self._name(others[0]) if len(others) == 1 else "the next"
        ), made[:1]

    def _no_claim(self, claims: Claims) -> str:
        if not self.ranked:
            return f"unknown ({self.cases[0].estimates[self.metric].reason})"
        if self._are_many:
            return f"no claim, since at most {MOST_COMPARED} cases are compared"
        if len(self.ranked) == 1:
            return f"known of {self._name(self.ranked[0])} alone"
        return self._obstacle(claims)

    def described(self, outcome: Outcome, claims: Sequence[Claim]) -> str:
        """Return an outcome of one or more points in words, with the claims that it rests on."""
        if outcome.reason:
            return outcome.reason
        if not outcome.best:
            equal = all(claim.low == claim.high == 1 for claim in claims)
            end = (
                "equal in every repeat" if equal else f"{_repeats(claims)} repeats would settle it"
            )
            return f"no significant difference ({end})"
        hull = replace(
            claims[0],
            low=min(claim.low or 0.0 for claim in claims),
            high=max(claim.high or math.inf for claim in claims),
        )
        verb = "has" if self._higher_is_better else "is"
        return f"{outcome.best} {verb} {self._ahead(_times(hull), outcome.other)}"

    @property
    def _are_many(self) -> bool:
        return len(self.ranked) > MOST_COMPARED

    def _ends(self) -> str:
        best, worst = self.ranked[0], self.ranked[-1]
        return (
            f"best {self._figure(best)}, worst {self._figure(worst)}, of {len(self.ranked):,} "
            f"cases; no claim, since at most {MOST_COMPARED} cases are compared"
        )

    # -- claims ------------------------------------------------------------------------------------

    def _judged(self, claims: Claims) -> Iterator[str]:
        best, *others = self.trusted
        tied = [best, *(o for o in others if not self._holds(claims, best, o))]
        if len(tied) == 1:
            yield self._lead(best, [(o, self._claim(claims, best, o)) for o in others])
            return
        yield self._tie(tied, [self._claim(claims, best, o) for o in tied[1:]])
        beaten = [o for o in others if all(self._holds(claims, one, o) for one in tied)]
        if beaten:
            yield self._lead_of_all(tied, beaten, claims)

    def _claim(self, claims: Claims, better: CaseResults, other: CaseResults) -> Claim:
        return claims[self.metric, better.index, other.index]

    def _holds(self, claims: Claims, better: CaseResults, other: CaseResults) -> bool:
        claim = claims.get((self.metric, better.index, other.index))
        return claim is not None and claim.holds

    def _lead(self, best: CaseResults, claims: Sequence[tuple[CaseResults, Claim]]) -> str:
        leads = [self._ahead(_times(claim), self._figure(other)) for other, claim in claims]
        verb = "has" if self._higher_is_better else "is"
        where = "" if self._higher_is_better else f" in {self.label}"
        return f"{self._figure(best)} {verb} {listed(leads)}{where}."

    def _ahead(self, times: str, other: str) -> str:
        """Return how far ahead of another case one is: "1.31 to 1.45 times faster than b"."""
        if self._higher_is_better:
            how = f"{times} the output throughput of" if times else "a higher throughput than"
        else:
            how = f"{times} faster than" if times else "faster than"
        return f"{how} {other}"

    def _tie(self, tied: Sequence[CaseResults], claims: Sequence[Claim]) -> str:
        best, *others = tied
        bounds = [_between(*self._natural(claim)) for claim in claims]
        figures = [self._figure(best), *map(self._figure, others, bounds)]
        label, equal = METRICS[self.metric].label, all(c.low == c.high == 1 for c in claims)
        settled = f"{_repeats(claims)} repeats would settle it"
        end = "they are equal in every repeat" if equal else settled
        return f"No significant difference in {label} between {listed(figures)}; {end}."

    def _natural(self, claim: Claim) -> tuple[float, float]:
        """Return the bounds of the other case's value relative to the better one's."""
        low, high = claim.low or 0.0, claim.high or math.inf
        return (1 / high, 1 / low) if self._higher_is_better else (low, high)

    def _lead_of_all(
        self, tied: Sequence[CaseResults], beaten: Sequence[CaseResults], claims: Claims
    ) -> str:
        leads = []
        for other in beaten:
            least = min(self._claim(claims, one, other).low or 0.0 for one in tied)
            times = f"at least {_ratio(least)} times" if least > 1 else ""
            leads.append(self._ahead(times, self._figure(other)))
        who = "Both" if len(tied) == PAIR else "All"
        return f"{who} {'have' if self._higher_is_better else 'are'} {listed(leads)}."

    # -- no claims ---------------------------------------------------------------------------------

    def _obstacle(self, claims: Claims) -> str:
        """Return why nothing can be claimed; empty if something can."""
        if len(self.trusted) == 1 or not self.trusted:
            doubted = [self._name(case) for case in self.ranked if case.name in self.doubted]
            are = "is" if len(doubted) == 1 else "are"
            return f"no claim, since {listed(doubted)} {are} in doubt"
        best, *others = self.trusted
        made = [self._claim(claims, best, other) for other in others]
        if reason := next((claim.reason for claim in made if claim.reason), ""):
            return f"no claim, since {reason}"
        if all(claim.low is not None for claim in made):
            return ""
        repeats = min(claim.repeats for claim in made)
        plural = "" if repeats == 1 else "s"
        return f"no claim from {repeats} repeat{plural}: it takes {_repeats(made)}"

    def _figures(self) -> str:
        best, *others = self.ranked
        least = self._value(best)
        ratios = [_between(*[self._value(case) / least] * 2) if least else "" for case in others]
        return listed([self._figure(best), *map(self._figure, others, ratios)])

    def _left_out(self) -> Iterator[str]:
        doubted = [self._figure(case) for case in self.ranked if case.name in self.doubted]
        if doubted:
            yield f"No claim about {listed(doubted)}."

    def _alone(self, case: CaseResults) -> str:
        """Return a case's figure with its interval, or with the values of one or two processes."""
        estimate, unit = case.estimates[self.metric], METRICS[self.metric].unit
        text = f"{self._name(case)} is {self._quantity(self._value(case))}"
        if estimate.low is not None and estimate.high is not None:
            if estimate.low == estimate.high:
                return f"{text} (all processes equal)"
            bounds = show_interval(estimate.low, estimate.high, unit, " to ")
            return f"{text} ({estimate.interval_name} {bounds})"
        each = [self._quantity(value) for value in estimate.values]
        return f"{text} ({'one process' if len(each) == 1 else listed(each)})"

    # -- words -------------------------------------------------------------------------------------

    @property
    def _higher_is_better(self) -> bool:
        return METRICS[self.metric].better == "higher"

    @property
    def label(self) -> str:
        """The name of the metric at the beginning of a sentence."""
        return "Output throughput" if self.metric == THROUGHPUT else METRICS[self.metric].label

    def _value(self, case: CaseResults) -> float:
        return case.estimates[self.metric].value or 0.0

    def _name(self, case: CaseResults) -> str:
        if not self.keys:
            return case.name
        others = {key: value for key, value in case.point.items() if key not in self.keys}
        return case_name(case.backend, others)

    def _quantity(self, value: float) -> str:
        unit = METRICS[self.metric].unit
        text = show(value, unit)
        return text if unit == "s" else f"{text} {unit}"

    def _figure(self, case: CaseResults, more: str = "") -> str:
        details = ", ".join(filter(None, (self._quantity(self._value(case)), more)))
        return f"{self._name(case)} ({details})"


def _times(claim: Claim) -> str:
    """Return how many times better a case is, by a claim that holds: "1.31 to 1.45 times"."""
    low, high = claim.low or 0.0, claim.high or math.inf
    return f"{_range(low, high)} times" if low > 1 else f"up to {_ratio(high)} times"


def _between(low: float, high: float) -> str:
    return f"{_range(low, high)} times that"


def _range(low: float, high: float) -> str:
    decimals = max(_decimals(low), _decimals(high))
    return " to ".join(dict.fromkeys(_ratio(end, decimals) for end in (low, high)))


def _ratio(value: float, decimals: int | None = None) -> str:
    if value >= 10:  # noqa: PLR2004 (two decimals would be more digits than known)
        return format_number(value)
    return f"{value:.{decimals or _decimals(value)}f}"


def _decimals(ratio: float) -> int:
    """Return how many decimals tell a ratio from 1: 2 for 1.02, 3 for 1.003."""
    away = abs(ratio - 1)
    return max(2, min(6, -math.floor(math.log10(away)))) if away else 2


def _repeats(claims: Sequence[Claim]) -> str:
    """Return how many repeats would support claims, or decide that nothing can be claimed."""
    known = [claim.needed for claim in claims if claim.needed is not None]
    if len(known) < len(claims):
        return f"more than {MOST_REPEATS}"
    is_estimated = min(claim.repeats for claim in claims) > 1
    return f"{'about' if is_estimated else 'at least'} {max(known)}"
