"""Optional parts of a report: the metric history and a profile of its scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmbench.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from llmbench.analysis.history import MetricHistory
    from llmbench.runs.profile import Profile


@dataclass(frozen=True, slots=True)
class Attachments:
    """The metric history and a profile of a scenario; either may be missing."""

    history: tuple[MetricHistory, ...] = ()
    profile: Profile | None = None


NOTHING = Attachments()


def read(scenario: str, store: Path | None, profiled: Path | None) -> Attachments:
    """Return a scenario's history, from the file ``store``, and profile, from a folder.

    Either is left out if its path is None. Raise InputError if one is unreadable or belongs to
    another scenario.
    """
    return Attachments(_series(scenario, store), _profile(scenario, profiled))


def _series(scenario: str, store: Path | None) -> tuple[MetricHistory, ...]:
    if store is None:
        return ()
    from llmbench.analysis import history  # noqa: PLC0415 (pandas would slow `--help`)

    nights = history.read(store)
    own = [night for night in nights if night.scenario == scenario]
    if not own:
        others = ", ".join(sorted({night.scenario for night in nights})) or "none"
        raise InputError(
            f"{store}: no nights of scenario {scenario!r} (scenarios: {others}); append some with "
            "llmbench history --add"
        )
    return tuple(history.histories(own))


def _profile(scenario: str, folder: Path | None) -> Profile | None:
    if folder is None:
        return None
    from llmbench.runs import profile  # noqa: PLC0415 (numpy would slow `--help`)

    stored = profile.read(folder)
    if stored.name != scenario:
        raise InputError(
            f"{folder}: profile of scenario {stored.name!r}, but the results are of {scenario!r}; "
            "give a profile of the same scenario"
        )
    return stored
