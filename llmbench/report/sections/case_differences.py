"""What the cases of a run set differ in besides what was measured, and whether they compare."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from llmbench.analysis.compare.differences import DifferenceKind, Facts, as_text, facts
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, Table

NAMED = 3
ALIKE = (
    "All cases were given the same requests on the same machine with the same software, so they "
    "may be compared; what each backend set is below."
)


def differing(results: Results) -> Table:
    """One row a fact that is not the same in all cases; the note says what follows from them."""
    cases = results.measured
    known = [facts(case.runs) for case in cases]
    every = dict.fromkeys(key for found in known for key in found)
    differ = [key for key in every if len({_told(found, key) for found in known}) > 1]
    columns = (
        Column("kind", numeric=False),
        Column("what", numeric=False),
        *(Column(case.name, numeric=False) for case in cases),
    )
    rows = tuple((*map(Cell, key), *(Cell(_told(found, key)) for found in known)) for key in differ)
    note = " ".join(_follows(cases, differ)) if len(cases) > 1 else ""
    return Table("What differs between the cases", columns, rows, note)


def _told(found: Facts, key: tuple[DifferenceKind, str]) -> str:
    return as_text(found.get(key))


def _follows(
    cases: Collection[CaseResults], differ: Collection[tuple[DifferenceKind, str]]
) -> Iterator[str]:
    """Say what differences mean for a comparison of the cases, a sentence a kind."""
    swept = dict.fromkeys(key for case in cases for key in case.point)
    asked = _named("scenario", differ)
    if others := [what for what in asked if what not in swept and what != "schedule"]:
        yield (
            f"They were asked different things ({_listed(others)}), so their figures answer "
            "different questions and do not compare."
        )
    if swept:
        yield f"{_listed(list(swept))} is swept: compare cases at one point of it."
    elif "schedule" in asked and not others:
        yield "Their requests came at different times, so compare them with care."
    if hardware := _named("hardware", differ):
        yield f"Their hardware differs ({_listed(hardware)}), which their figures include."
    if software := _named("software", differ):
        yield f"Their software differs ({_listed(software)}), which their figures include."
    if not {kind for kind, _ in differ} - {"setting"}:
        yield ALIKE


def _named(kind: DifferenceKind, differ: Collection[tuple[DifferenceKind, str]]) -> list[str]:
    return [what for its_kind, what in differ if its_kind == kind]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
