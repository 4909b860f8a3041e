"""The values of a grid, from ranges and lists of the command line: ``1..64``, ``10..1000/5``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from llmbench.errors import InputError, shown
from llmbench.scenario.file import Override

POINTS = 10  # of a range without a number of points
MAX_POINTS = 100
MAX_REPLICAS = 10_000
COUNTS = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?")
NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)\s*(/?[A-Za-zµ]+)?"
RANGE = re.compile(rf"\s*{NUMBER}\s*\.\.\s*{NUMBER}\s*(?:/(\d{{1,9}}))?\s*")
DIGITS = 3


def replica_counts(text: str) -> tuple[int, ...]:
    """Return numbers of replicas in ascending order, from ``1..8``, ``1,2,4`` or both.

    Raise InputError if it is neither, or has none or more than MAX_REPLICAS.
    """
    matches = [COUNTS.fullmatch(part.strip()) for part in text.split(",")]
    ends = [(int(m[1]), int(m[2] or m[1])) for m in matches if m]
    if len(ends) < len(matches) or any(not 1 <= low <= high for low, high in ends):
        raise InputError(
            f"--replicas {shown(text)}: expected a range such as 1..8, or a list such as 1,2,4"
        )
    if max(high for _, high in ends) > MAX_REPLICAS:
        raise InputError(f"--replicas {shown(text)}: expected at most {MAX_REPLICAS:,} replicas")
    return tuple(sorted({count for low, high in ends for count in range(low, high + 1)}))


def swept(key: str, text: str, flag: str) -> Override:
    """Return the override that sweeps a scenario key over a range or a list of values.

    A range ``a..b`` has POINTS geometrically spaced values, ``a..b/n`` has n, each with the unit of
    the ends and rounded: to integers between integers, else to DIGITS digits. All else is a list.
    """
    matched = RANGE.fullmatch(text)
    values = ", ".join(_spaced(matched, flag)) if matched else text
    return Override(f"sweep.{key}=[{values}]", flag)


def _spaced(matched: re.Match[str], flag: str) -> list[str]:
    first, unit, last, other, given = matched.groups()
    points = POINTS if given is None else int(given)
    low, high = float(first), float(last)
    if not (0 < low <= high < np.inf and 1 <= points <= MAX_POINTS):
        raise InputError(
            f"{flag}: expected a range such as 10..1000, with at most {MAX_POINTS} points as in "
            "10..1000/5; both ends above 0, the lower one first"
        )
    if unit and other and unit != other:
        raise InputError(f"{flag}: expected one unit, found {unit} and {other}")
    are_integers = first.isdecimal() and last.isdecimal()
    spaced = np.geomspace(low, high, points)
    texts = [f"{round(x)}" if are_integers else f"{x:.{DIGITS}g}" for x in spaced]
    return [f"{text} {unit or other or ''}".strip() for text in dict.fromkeys(texts)]


def coarse(counts: Sequence[int], most: int) -> tuple[int, ...]:
    """Return at most ``most`` of ascending numbers, the ends included, about evenly by ratio."""
    wanted = np.geomspace(counts[0], counts[-1], most)
    nearest = np.abs(np.log(np.asarray(counts)[:, None] / wanted)).argmin(axis=0)
    return tuple(counts[index] for index in np.unique(nearest))
