"""What differs between the cases of a run set, and whether they are comparable."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from llmbench.analysis.compare.differences import DifferenceKind, Facts, as_text, facts, schedules
from llmbench.analysis.nodes import NODE
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Table, text_columns

NAMED = 3
ALIKE = (
    "Yes: all cases had the same requests, hardware and software. The settings of the backends are "
    "listed below."
)

OF_KINDS = (
    "The cases were measured on {} kinds of node, whose hardware and software are listed below; "
    "the section Hardware compares them."
)


def differing(results: Results) -> Table:
    """Return the facts that differ between cases, one per row; the note judges comparability."""
    cases = results.measured
    known = [facts(case.runs) for case in cases]
    keys = dict.fromkeys(key for of_case in known for key in of_case)
    differ = [key for key in keys if len({as_text(of_case.get(key)) for of_case in known}) > 1]
    columns = text_columns("kind", "what", *(case.name for case in cases))
    rows = tuple(
        (*map(Cell, key), *(Cell(as_text(of_case.get(key))) for of_case in known)) for key in differ
    )
    note = " ".join(_follows(cases, differ, known)) if len(cases) > 1 else ""
    return Table("What differs between the cases", columns, rows, note)


def _follows(
    cases: Sequence[CaseResults],
    differ: Sequence[tuple[DifferenceKind, str]],
    known: Sequence[Facts],
) -> Iterator[str]:
    """Yield sentences on how the differences, by kind, affect comparability."""
    swept = dict.fromkeys(key for case in cases for key in case.point if key != NODE)
    scenario = _named("scenario", differ)
    if others := [what for what in scenario if what not in swept]:
        yield f"No: the cases differ in scenario ({_listed(others)})."
    if swept:
        yield f"{_listed(list(swept))} is swept: compare cases at the same point only."
    elif not others and not _share_schedules(cases):
        yield "The arrival times of requests differ; compare with care."
    kinds = {case.point.get(NODE) for case in cases}
    if len(kinds) > 1:
        yield OF_KINDS.format(len(kinds))
    unlike = _within_a_kind(cases, differ, known)
    for kind in ("hardware", "software"):
        if names := _named(kind, unlike):
            yield f"The {kind} differs ({_listed(names)}), which may affect the results."
    if not {kind for kind, _ in differ} - {"setting"} and _share_schedules(cases):
        yield ALIKE


def _within_a_kind(
    cases: Sequence[CaseResults],
    differ: Sequence[tuple[DifferenceKind, str]],
    known: Sequence[Facts],
) -> list[tuple[DifferenceKind, str]]:
    """Return the facts that differ between cases on one kind of node, or where none has a kind."""
    pairs = list(zip((case.point.get(NODE) for case in cases), known, strict=True))
    kinds = {kind for kind, _ in pairs}
    return [
        key
        for key in differ
        if len({(kind, as_text(of_case.get(key))) for kind, of_case in pairs}) > len(kinds)
    ]


def _share_schedules(cases: Collection[CaseResults]) -> bool:
    """Return whether the cases had the same schedule in every repeat that they share."""
    of_cases = [schedules(case.runs) for case in cases]
    repeats = {repeat for of_case in of_cases for repeat in of_case}
    return all(len({s[r] for s in of_cases if r in s}) == 1 for r in repeats)


def _named(kind: DifferenceKind, differ: Collection[tuple[DifferenceKind, str]]) -> list[str]:
    return [what for its_kind, what in differ if its_kind == kind]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
