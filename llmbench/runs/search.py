"""A search for the best settings, as it is stored with its run set.

It has what was asked, and where the search ended. What it found follows from the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Search:
    """A search by one metric, over the settings (names of cases) in the order of the scenario.

    ``against`` has the second metrics of the fronts, if they were chosen. ``first`` is the number
    of runs of a setting in the first rung, ``budget`` the limit as it was typed. ``runs`` is the
    number after which the search ended, None if it was interrupted. ``seconds`` is the time of all
    commands of the search.
    """

    metric: str
    better: Literal["lower", "higher"]
    settings: tuple[str, ...]
    against: tuple[str, ...]
    seed: int
    first: int
    budget: str | None = None
    runs: int | None = None
    seconds: float = 0.0
