"""Answers under load compared with those to the same prompts sent one at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmbench.analysis.values import Value, unavailable
from llmbench.runs.run import Compared, UnderLoad

UNITS = ("tokens", "characters")
SHARES = ("changed_under_load", "changed_alone", "accuracy_under_load", "accuracy_alone")
FIRST_CHANGES = tuple(f"first_change_{unit}" for unit in UNITS)


def under_load_values(under_load: UnderLoad) -> dict[str, Value]:
    """Return the shares of changed answers, under load and sequential, and the accuracies."""
    answers = under_load.answers
    if not answers:
        reason = under_load.reason or "no answers were compared"
        return unavailable((*SHARES, *FIRST_CHANGES), reason)
    return {
        "changed_under_load": _share([answer.is_changed for answer in answers]),
        "changed_alone": _share([answer.changes_alone for answer in answers]),
        "accuracy_under_load": _graded([answer.right_under_load for answer in answers]),
        "accuracy_alone": _graded([answer.right_alone for answer in answers]),
        **{
            key: _first_change(under_load, unit)
            for key, unit in zip(FIRST_CHANGES, UNITS, strict=True)
        },
    }


def _share(marks: Sequence[bool]) -> Value:
    """Share = m / n, of n answers to different prompts."""
    return Value(sum(marks) / len(marks), len(marks))


def _graded(grades: Sequence[bool | None]) -> Value:
    known = [grade for grade in grades if grade is not None]
    return _share(known) if known else Value.unavailable("the rows have no right answers")


def _first_change(under_load: UnderLoad, unit: str) -> Value:
    """First change = median of the symbols before the first difference, over changed answers."""
    if under_load.unit != unit:
        return Value.unavailable(f"answers were compared as {under_load.unit}")
    lengths = [answer.alike for answer in changed(under_load.answers)]
    if not lengths:
        return Value.unavailable("no answer changed")
    return Value(float(np.median(lengths)), len(lengths))


def changed(answers: Sequence[Compared]) -> list[Compared]:
    """Return the answers that differ under load."""
    return [answer for answer in answers if answer.is_changed]
