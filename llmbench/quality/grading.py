"""Whether an answer is right: a number, a choice, or what a regular expression matches."""

from __future__ import annotations

import math
import re

from llmbench.quality.time_limit import TookTooLong, time_limit
from llmbench.runs.request import Expected

MAX_CHARACTERS = 2**20  # of an answer that is searched
SECONDS = 1.0  # of the search in one answer
RELATIVE, ABSOLUTE = 1e-6, 1e-9  # differences of equal numbers
NUMBER = re.compile(
    r"(?:(?<![\w.])[-+])?"  # a sign, which in 10-3 is none
    r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
)


def grade(text: str, expected: Expected) -> bool | None:
    """Return whether an answer is right; None if that takes too long.

    Of a number, the last number in the answer counts; of a choice among several, the first one that
    stands in the answer as a word. A choice without others may stand anywhere, in any case.
    """
    text = text[:MAX_CHARACTERS]
    match expected.kind:
        case "number":
            return _is_number(text, float(expected.value))
        case "choice":
            return _is_choice(text, expected)
    try:
        with time_limit(SECONDS):
            return re.search(expected.value, text) is not None
    except TookTooLong:
        return None


def _is_number(text: str, expected: float) -> bool:
    numbers = NUMBER.findall(text)
    if not numbers:
        return False
    last = float(numbers[-1].replace(",", ""))
    return math.isclose(last, expected, rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def _is_choice(text: str, expected: Expected) -> bool:
    if len(expected.choices) == 1:
        return re.search(_as_word(expected.value), text, re.IGNORECASE) is not None
    longest_first = sorted(expected.choices, key=len, reverse=True)
    found = re.search("|".join(map(_as_word, longest_first)), text)
    return found is not None and found[0] == expected.value


def _as_word(choice: str) -> str:
    return rf"(?<!\w){re.escape(choice)}(?!\w)"
