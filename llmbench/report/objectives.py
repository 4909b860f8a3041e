"""Sentences on the objectives and on the rate of requests that was asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmbench.analysis.slo_attainment import AttainedPercentile, label
from llmbench.report.results import CaseResults, Results
from llmbench.report.sweep import Curve, at_points, by_load, load_key
from llmbench.report.table import show, show_interval
from llmbench.report.wording import MAX_NAMED, all_of, capitalized, listed, named, none_of
from llmbench.units import format_number


def sentences(results: Results) -> list[str]:
    """Return what was attained of the objectives and of the asked rate; empty if nothing was asked.

    Of cases that differ in load, one sentence per backend; else one about all, and the figures of
    the objectives that are not met.
    """
    if swept := load_key(results.measured):
        curves = by_load(results.cases, swept)
        return [sentence for name, curve in curves.items() for sentence in _held(name, curve)]
    return [*_attained(results.measured), *_figures(results.measured)]


# -- cases at one load -----------------------------------------------------------------------------


def _attained(cases: Sequence[CaseResults]) -> Iterator[str]:
    behind = [case for case in cases if not _keeps_up(case)]
    lacking = _answered(behind) if behind else ""
    if judged := [case for case in cases if case.objectives]:
        yield f"{'; '.join(filter(None, (_judged(judged), lacking)))}."
    elif behind:
        yield _behind(cases, behind)


def _judged(cases: Sequence[CaseResults]) -> str:
    met, missed, undecided = (
        [case.name for case in cases if case.objectives == status]
        for status in ("met", "missed", "open")
    )
    if len(met) == len(cases) > 1:
        return f"{all_of(len(cases))} meet the objectives"
    if len(missed) == len(cases) > 1:
        return f"{none_of(len(cases))} meets the objectives"
    if len(undecided) == len(cases):
        whether = f"whether {named(undecided)} {_verb(undecided, 'meet')} the objectives"
        return f"It is undecided {whether}: {_doubt(cases)}"
    parts = [f"{named(met)} {_verb(met, 'meet')} the objectives"] if met else []
    if missed:
        them = "them" if met else "the objectives"
        parts.append(f"{named(missed)} {_verb(missed, 'miss')} {them}")
    if undecided:
        parts.append(f"{named(undecided)} {'is' if len(undecided) == 1 else 'are'} undecided")
    return "; ".join(parts)


def _doubt(cases: Sequence[CaseResults]) -> str:
    """Return why it is undecided whether cases meet the objectives."""
    if any(case.validity.verdict == "invalid" for case in cases):
        return "llmbench itself did not keep up"
    if any(math.isinf(one.high) for case in cases for one in case.percentiles):
        return "the percentiles need more requests"
    return "an interval contains its objective"


def _verb(names: Sequence[str], verb: str) -> str:
    if len(names) > 1:
        return verb
    return f"{verb}es" if verb.endswith("s") else f"{verb}s"


def _behind(cases: Sequence[CaseResults], behind: Sequence[CaseResults]) -> str:
    if len(cases) == len(behind) > 1:
        return f"{none_of(len(cases))} keeps up with the load: {_answered(behind)}."
    verb = "does" if len(behind) == 1 else "do"
    whose = named([case.name for case in behind])
    return f"{whose} {verb} not keep up with the load: {_answered(behind)}."


def _keeps_up(case: CaseResults) -> bool:
    return case.attained is None or case.attained.keeps_up


def _answered(behind: Sequence[CaseResults]) -> str:
    """Return the answered rates: ``eager answered 4.6 of 8 requests/s and onnx 5.2 of 8``."""
    rates = [(case.name, case.attained) for case in behind if case.attained]
    shown = [f"{name} {_of(rate.answered, rate.asked)}" for name, rate in rates]
    if len(shown) > MAX_NAMED:
        name, least = min(rates, key=lambda rate: rate[1].answered / rate[1].asked)
        answered = f"the least {_of(least.answered, least.asked)} requests/s ({name})"
        return f"{len(shown):,} cases answered less than asked, {answered}"
    name, rate = rates[0]
    first = f"{name} answered {_of(rate.answered, rate.asked)} requests/s"
    return listed([first, *shown[1:]])


def _of(answered: float, asked: float) -> str:
    return f"{format_number(answered, 2)} of {asked:g}"


# -- the figures of objectives that are not met ----------------------------------------------------


def _figures(cases: Sequence[CaseResults]) -> Iterator[str]:
    """Yield a sentence per objective that is missed or undecided in some case."""
    short: dict[tuple[str, float], list[tuple[CaseResults, AttainedPercentile]]] = {}
    for case in cases:
        for attained in case.percentiles:
            if attained.status != "met":
                short.setdefault((attained.key, attained.bound), []).append((case, attained))
    for (key, bound), of_cases in short.items():
        name, objective = capitalized(label(key)), show(bound, "s")
        yield f"{name} over all runs, objective {objective}: {_shown(of_cases)}."


def _shown(short: Sequence[tuple[CaseResults, AttainedPercentile]]) -> str:
    if len(short) > MAX_NAMED:
        case, worst = max(short, key=lambda one: one[1].value)
        return f"not met by {len(short):,} cases, at worst {case.name} with {_figure(worst)}"
    return listed([f"{case.name} {_figure(attained)}" for case, attained in short])


def _figure(attained: AttainedPercentile) -> str:
    if math.isnan(attained.value):
        return "unknown, without requests"
    if math.isinf(attained.value):
        return "infinite by failed requests"
    text, low, high = show(attained.value, "s"), attained.low, attained.high
    if attained.status == "missed" or math.isinf(low):
        return text
    if math.isinf(high):
        return f"{text} (95 % interval {show(low, 's')} or more)"
    return f"{text} (95 % interval {show_interval(low, high, 's', ' to ')})"


# -- cases at several loads ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Point:
    """A load, and whether a case meets the objectives or, without them, keeps up (None: open)."""

    at: str
    case: CaseResults
    held: bool | None

    @classmethod
    def of(cls, at: str, case: CaseResults) -> _Point:
        if case.objectives:
            return cls(at, case, {"met": True, "missed": False, "open": None}[case.objectives])
        return cls(at, case, _keeps_up(case))

    @property
    def shortfall(self) -> str:
        """What is missed at this load, for a sentence about the backend."""
        missed = [
            f"{label(one.key)} ({_figure(one)}, objective {show(one.bound, 's')})"
            for one in self.case.percentiles
            if one.status == "missed"
        ]
        parts = [f"misses {listed(missed)}"] if missed else []
        if self.case.attained and not _keeps_up(self.case):
            parts.append(f"answers {format_number(self.case.attained.answered, 2)} requests/s")
        return " and ".join(parts)


def _held(name: str, curve: Curve) -> Iterator[str]:
    """Yield up to which load a backend meets the objectives or, without them, keeps up."""
    points = [_Point.of(at, case) for at, case in curve if case.runs]
    if any(point.case.objectives or not point.held for point in points):
        yield f"{'; '.join(_parts(name, curve, points))}."


def _parts(name: str, curve: Curve, points: Sequence[_Point]) -> Iterator[str]:
    broken = next((point for point in points if point.held is False), None)
    below = points[: points.index(broken)] if broken else points
    has_objectives = any(point.case.objectives for point in points)
    held, undecided = ([p.at for p in below if p.held is held] for held in (True, None))
    verb, what = ("meet", "the objectives") if has_objectives else ("keep up with", "the load")
    meets = f"{_third(verb)} {what}"
    if held:
        highest = ", the highest tried" if held[-1] == curve[-1][0] else ""
        yield f"{name} {meets} up to {held[-1]}{highest}"
    elif undecided:
        cases = [point.case for point in below]
        yield f"It is undecided whether {name} {meets} {_at(undecided, curve)}: {_doubt(cases)}"
    elif broken:
        lowest = f"{name} does not {verb} {what} at {broken.at}, the lowest measured"
        yield f"{lowest}: it {broken.shortfall}"
    if held and undecided:
        yield f"it is undecided {_at(undecided, curve)}"
    if broken and below:
        yield f"at {broken.at} it {broken.shortfall}"
    if again := [point.at for point in points if point.held and point not in below]:
        yield f"it {meets} again {_at(again, curve)}"
    if lost := [at for at, case in curve if not case.runs]:
        yield f"no results {_at(lost, curve)}"


def _at(loads: Sequence[str], curve: Curve) -> str:
    return at_points(loads, [at for at, _ in curve])


def _third(verb: str) -> str:
    first, _, rest = verb.partition(" ")
    return f"{first}s {rest}".rstrip()
