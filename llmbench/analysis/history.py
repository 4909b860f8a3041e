"""The series of nights: kept as lines that merge, shown with the nights at which they moved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from llmbench.analysis import baseline_file
from llmbench.analysis.compare.comparison import TOLERANCES, values_of
from llmbench.analysis.compare.differences import differences
from llmbench.analysis.metrics import summarize
from llmbench.errors import InputError
from llmbench.runs.files import atomic_write
from llmbench.runs.run import Run
from llmbench.runs.store import RunSet

FEWEST_NIGHTS, FEWEST_BETWEEN = 20, 4
ALPHA, PERMUTATIONS = 0.01, 999


@dataclass(frozen=True, slots=True)
class Night:
    """The runs of one case on one night."""

    scenario: str
    case: str
    began_at: str
    commit: str | None
    runs: tuple[Run, ...]

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from every other night."""
        return self.began_at, self.scenario, self.case


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A night from which a series has another level; ``p`` is that of a split so good by chance."""

    began_at: str
    commit: str | None
    before: float
    after: float
    p: float


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of a case, night by night: the median of its processes.

    ``changes`` is None with fewer than FEWEST_NIGHTS nights. ``left_out`` counts nights of another
    machine or another scenario than the last.
    """

    scenario: str
    case: str
    metric: str
    nights: tuple[str, ...]
    values: tuple[float, ...]
    left_out: int
    changes: tuple[ChangePoint, ...] | None


# -- the store -------------------------------------------------------------------------------------


def add(store: Path, run_sets: Sequence[RunSet]) -> int:
    """Append the cases of run sets to a store, a line each, and return how many are new.

    Lines come in the order of nights; one that is there already stays once, so that stores which
    grew apart merge by putting their lines together.
    """
    known = _lines(store) if store.exists() else {}
    before = len(known)
    for run_set in run_sets:
        told = baseline_file.summary(run_set)
        for case in told.pop("cases"):
            line = {**told, **case}
            known.setdefault(_key(line), line)
    text = "".join(json.dumps(known[key], ensure_ascii=False) + "\n" for key in sorted(known))
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(store, text)
    except OSError as error:
        raise InputError(f"{store}: cannot be written: {error.strerror}") from None
    return len(known) - before


def read(store: Path) -> list[Night]:
    """Read the nights of a store, the oldest first.

    Raises InputError, naming the line, where something in it is none of ours.
    """
    return [
        Night(
            line["name"],
            line["case"],
            line["began_at"],
            line["commit"],
            tuple(baseline_file.runs_of(line, line["began_at"])),
        )
        for _, line in sorted(_lines(store).items())
    ]


def _lines(store: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    try:
        text = store.read_text("utf-8")
    except OSError as error:
        raise InputError(f"{store}: cannot be read: {error.strerror}") from None
    found = {}
    for number, written in enumerate(text.splitlines(), start=1):
        if written.strip():
            line = _line(written, f"{store}:{number}")
            found[_key(line)] = line
    return found


def _line(written: str, where: str) -> dict[str, Any]:
    try:
        line = json.loads(written)
    except ValueError:
        raise InputError(
            f"{where}: is no JSON; a merge may have left its marks, remove them"
        ) from None
    if not isinstance(line, dict) or line.get("format") != baseline_file.FORMAT:
        raise InputError(f"{where}: not written by `llmbench history`")
    if line.get("version") != baseline_file.VERSION:
        raise InputError(
            f"{where}: is of version {line.get('version')}, and this llmbench reads "
            f"{baseline_file.VERSION}; remove the line or use the llmbench that wrote it"
        )
    return line


def _key(line: dict[str, Any]) -> tuple[str, str, str]:
    return line["began_at"], line["name"], line["case"]


# -- series ----------------------------------------------------------------------------------------


def series(nights: Sequence[Night]) -> list[Series]:
    """Give the usual metrics of every case that the nights support, in the order of names."""
    cases = sorted({(night.scenario, night.case) for night in nights})
    return [
        found
        for scenario, case in cases
        for key in TOLERANCES
        if (found := _series(scenario, case, key, nights))
    ]


def _series(scenario: str, case: str, key: str, nights: Sequence[Night]) -> Series | None:
    of_case = [night for night in nights if (night.scenario, night.case) == (scenario, case)]
    alike = [night for night in of_case if _comparable(night, of_case[-1])]
    known = [(night, median(found)) for night in alike if (found := _values(night, key))]
    if not known:
        return None
    values = [value for _, value in known]
    return Series(
        scenario,
        case,
        key,
        tuple(night.began_at for night, _ in known),
        tuple(values),
        len(of_case) - len(alike),
        tuple(_named(known)) if len(known) >= FEWEST_NIGHTS else None,
    )


def _comparable(night: Night, last: Night) -> bool:
    kinds = {found.kind for found in differences(night.runs, last.runs)}
    return not kinds & {"scenario", "hardware"}


def _values(night: Night, key: str) -> list[float]:
    values, _ = values_of(key, [summarize(run) for run in night.runs])
    return values


def _named(known: Sequence[tuple[Night, float]]) -> Iterator[ChangePoint]:
    values = [value for _, value in known]
    found = change_points(values)
    edges = [0, *(place for place, _ in found), len(values)]
    levels = [median(values[begin:end]) for begin, end in pairwise(edges)]
    for (place, p), (before, after) in zip(found, pairwise(levels), strict=True):
        night = known[place][0]
        yield ChangePoint(night.began_at, night.commit, before, after, p)


def change_points(values: Sequence[float]) -> list[tuple[int, float]]:
    """Find where a series has another level from, each with its p.

    The best split of the ranks in two (ruptures, least squares) counts when at most ALPHA of
    shuffled series have one as good, then both parts are split on (Matteson and James, 2014). As
    many splits as count are then placed together.
    """
    found = np.asarray(values, dtype=np.float64)
    ps = list(_splits(found, np.random.default_rng(0)))
    return list(zip(_best_splits(_ranks(found), len(ps))[0], ps, strict=True)) if ps else []


def _splits(values: NDArray[np.float64], draws: np.random.Generator) -> Iterator[float]:
    """Give the p of every split that counts, in the order of nights."""
    if len(values) < 2 * FEWEST_BETWEEN:
        return
    ranks = _ranks(values)
    (place,), cost = _best_splits(ranks, 1)
    shuffled = (draws.permutation(ranks) for _ in range(PERMUTATIONS))
    as_good = sum(_best_splits(each, 1)[1] <= cost for each in shuffled)
    p = (1 + as_good) / (1 + PERMUTATIONS)
    if p > ALPHA:
        return
    yield from _splits(values[:place], draws)
    yield p
    yield from _splits(values[place:], draws)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def _best_splits(ranks: NDArray[np.float64], count: int) -> tuple[list[int], float]:
    """Give where to split so that parts are most alike within, and what is left of squares."""
    try:
        import ruptures  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise InputError(
            "change points need ruptures; install it with: pip install 'llmbench[history]'"
        ) from None
    search = ruptures.KernelCPD(kernel="linear", min_size=FEWEST_BETWEEN).fit(ranks[:, None])
    ends = search.predict(n_bkps=count)
    return [int(end) for end in ends[:-1]], float(search.cost.sum_of_costs(ends))
