"""The headline of a report: which case is fastest, and by how much, as far as its runs support it.

Claims are judged together (analysis/compare/judge.py). Where none is possible, the headline has the
figures and says what a claim would take.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from llmbench.analysis.compare.judge import CasePair, Claim, judge_claims
from llmbench.report.ranking import THROUGHPUT, Claims, Outcome, Ranking
from llmbench.report.results import CaseResults, Results
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.sections import findings
from llmbench.report.sweep import at_points, by_point, load_key, ranges
from llmbench.report.wording import listed

TIMES = ("ttft_p50", "tpot_p50", "e2e_p50")


def headline(results: Results) -> list[str]:
    """Return one sentence per metric, and the reasons to doubt cases.

    Cases are compared at each point of a sweep. Without objectives, a sweep also has the range of
    the leading metric for each backend.
    """
    if not results.measured:
        failed = "No results: every run failed." if results.run_set.failed else "No results yet."
        return [failed]
    doubts = [f for f in findings.find(results) if f.caveat.blocks_claims]
    rankings = _rankings(results, frozenset(name for doubt in doubts for name in doubt.cases))
    claims = _claims(rankings)
    reasons = [_in_doubt(doubt, results) for doubt in doubts]
    compared = any(len(ranking.ranked) > 1 for ranking in rankings)
    sentences = (
        [ranking.sentence(claims) for ranking in rankings]
        if len({ranking.point for ranking in rankings}) == 1
        else _of_sweep(results, rankings, claims)
    )
    return sentences + (reasons if compared else [])


def _metrics(results: Results) -> tuple[str, ...]:
    # under an open-loop load every case that keeps up has the offered throughput
    return TIMES if is_open_loop(results) else (THROUGHPUT, *TIMES[:-1])


def _rankings(results: Results, doubted: frozenset[str]) -> list[Ranking]:
    keys = _compared_at(results.measured)
    return [
        Ranking(metric, point, keys, cases, doubted)
        for point, cases in by_point(results.measured, keys).items()
        for metric in _metrics(results)
    ]


def _compared_at(cases: Sequence[CaseResults]) -> tuple[str, ...]:
    """Return the swept keys that compared cases share.

    These are all that every case has, if then several cases are compared at a point. Otherwise the
    cases at one load are compared, and without a swept load all.
    """
    every = dict.fromkeys(key for case in cases for key in case.point)
    swept = tuple(key for key in every if all(key in case.point for case in cases))
    if len(by_point(cases, swept)) < len(cases):
        return swept
    load = load_key(cases)
    return (load,) if load else ()


# -- a sweep ---------------------------------------------------------------------------------------


def _of_sweep(results: Results, rankings: Sequence[Ranking], claims: Claims) -> list[str]:
    """Return each backend's range of the leading metric, and who is better in which metric where.

    The only backend of a sweep has the range of every metric.
    """
    compared = [ranking for ranking in rankings if len(ranking.cases) > 1]
    metrics = _metrics(results) if not compared else _metrics(results)[:1]
    has_objectives = any(case.objectives for case in results.measured)
    ranged = [] if compared and has_objectives else ranges(results.measured, metrics)
    by_text: dict[str, list[str]] = {}
    for metric in _metrics(results):
        of_metric = [ranking for ranking in compared if ranking.metric == metric]
        if of_metric:
            by_text.setdefault(_over_points(of_metric, claims), []).append(of_metric[0].label)
    return [*ranged, *(f"{listed(labels)}: {text}." for text, labels in by_text.items())]


def _over_points(rankings: Sequence[Ranking], claims: Claims) -> str:
    """Return the outcomes of one metric, each with the points of the sweep that have it."""
    outcomes: dict[Outcome, list[tuple[str, list[Claim]]]] = {}
    for ranking in rankings:
        outcome, made = ranking.outcome(claims)
        outcomes.setdefault(outcome, []).append((ranking.point, made))
    points = [ranking.point for ranking in rankings]
    parts = []
    for outcome, found in outcomes.items():
        made = [claim for _, of_point in found for claim in of_point]
        where = f" {at_points([point for point, _ in found], points)}"
        everywhere = outcome.reason and len(outcomes) == 1
        parts.append(rankings[0].described(outcome, made) + ("" if everywhere else where))
    return "; ".join(parts)


def _claims(rankings: Sequence[Ranking]) -> Claims:
    """Return the claims of all rankings, judged together."""
    asked = [
        (ranking.metric, better, other)
        for ranking in rankings
        for better, other in combinations(ranking.trusted, 2)
    ]
    pairs = [
        (CasePair(other.processes, better.processes, ruling=()), metric)
        for metric, better, other in asked
    ]
    questions = [(metric, better.index, other.index) for metric, better, other in asked]
    return dict(zip(questions, judge_claims(pairs), strict=True))


def _in_doubt(doubt: findings.Finding, results: Results) -> str:
    are = "is" if len(doubt.cases) == 1 else "are"
    return f"{findings.scope(doubt, results)} {are} in doubt: {doubt.message}"
