"""Words that the sentences of a report share."""

from __future__ import annotations

from collections.abc import Sequence

MAX_NAMED = 4  # cases or points; a sentence counts more of them
PAIR = 2


def listed(parts: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def named(names: Sequence[str], kind: str = "cases") -> str:
    """Return the names, or their number and kind if they are more than MAX_NAMED."""
    return listed(names) if len(names) <= MAX_NAMED else f"{len(names):,} {kind}"


def none_of(number: int) -> str:
    """Return ``Neither case`` or ``None of the 5 cases``."""
    return "Neither case" if number == PAIR else f"None of the {number:,} cases"


def all_of(number: int) -> str:
    """Return ``Both cases`` or ``All 5 cases``."""
    return "Both cases" if number == PAIR else f"All {number:,} cases"
