"""The history of nightly runs: a mergeable store, with change points per metric."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
import scipy

from llmbench.analysis import baseline_file
from llmbench.analysis.compare.comparison import TOLERANCES
from llmbench.analysis.compare.differences import differences
from llmbench.analysis.compare.judge import Processes
from llmbench.analysis.stats import Floats
from llmbench.errors import InputError
from llmbench.runs.checking import check_moment, checked
from llmbench.runs.files import read_json_lines, write_text
from llmbench.runs.run_set import RunSet

MIN_NIGHTS, MIN_SEGMENT = 20, 4
ALPHA, PERMUTATIONS = 0.01, 999


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """The processes of one case in one run set, usually of one night."""

    scenario: str
    case: str
    began_at: str
    commit: str | None
    processes: Processes


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The first night after a level shift; ``p`` is the p-value of a permutation test."""

    began_at: str
    commit: str | None
    before: float
    after: float
    p: float


@dataclass(frozen=True, slots=True)
class MetricHistory:
    """A metric of a case by night: the median of its processes.

    ``changes`` is None for fewer than MIN_NIGHTS nights. ``left_out`` counts nights whose machine
    or scenario differs from the last night's.
    """

    scenario: str
    case: str
    metric: str
    nights: tuple[str, ...]
    values: tuple[float, ...]
    left_out: int
    changes: tuple[ChangePoint, ...] | None


# -- the store -------------------------------------------------------------------------------------


class _Line(baseline_file.SummarizedCase, kw_only=True):
    """One line of a history store: the summary of one case of a run set."""

    format: Literal["llmbench summary"]
    version: Literal[1, 2]
    name: str
    began_at: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_moment(self.began_at)

    @property
    def key(self) -> tuple[str, str, str]:
        """The key by which lines are sorted and deduplicated: start time, run set and case."""
        return self.began_at, self.name, self.case


def add(store: Path, run_sets: Sequence[RunSet]) -> int:
    """Append the cases of run sets to a store, one line each; return the number of new ones.

    Lines are sorted by time and duplicates are dropped, so that diverged stores merge by
    concatenation.
    """
    stored = _lines(store) if store.exists() else []
    lines = {line.key: written for line, written in stored}
    before = len(lines)
    for run_set in run_sets:
        summary = baseline_file.summary(run_set)
        for case in summary.pop("cases"):
            key = summary["began_at"], summary["name"], case["case"]
            lines.setdefault(key, json.dumps({**summary, **case}, ensure_ascii=False))
    text = "".join(f"{lines[key]}\n" for key in sorted(lines))
    write_text(store, text)
    return len(lines) - before


def read(store: Path) -> list[HistoryEntry]:
    """Return the entries of a store, oldest first.

    Raise InputError, with the line number, for a line that llmbench did not write.
    """
    lines = {line.key: line for line, _ in _lines(store)}
    return [
        HistoryEntry(
            line.name,
            line.case,
            line.began_at,
            line.commit,
            Processes.of(baseline_file.runs_of(line, line.began_at)),
        )
        for _, line in sorted(lines.items())
    ]


def _lines(store: Path) -> Iterator[tuple[_Line, str]]:
    """Yield every line of a store, decoded and as text."""
    remedy = "remove the line, or any conflict markers left by a merge"
    for number, written, content in read_json_lines(store, remedy):
        yield checked(content, _Line, f"{store}:{number}", remedy), written


# -- histories -------------------------------------------------------------------------------------


def histories(entries: Sequence[HistoryEntry]) -> list[MetricHistory]:
    """Return histories of the default metrics with enough samples, by scenario and case."""
    by_case: dict[tuple[str, str], list[HistoryEntry]] = {}
    for entry in entries:
        by_case.setdefault((entry.scenario, entry.case), []).append(entry)
    return [history for _, of_case in sorted(by_case.items()) for history in _of_case(of_case)]


def _of_case(entries: Sequence[HistoryEntry]) -> Iterator[MetricHistory]:
    last = entries[-1]
    alike = [entry for entry in entries if _comparable(entry, last)]
    for key in TOLERANCES:
        known = [(e, median(values)) for e in alike if (values := e.processes.values(key)[0])]
        if known:
            yield MetricHistory(
                last.scenario,
                last.case,
                key,
                tuple(entry.began_at for entry, _ in known),
                tuple(value for _, value in known),
                len(entries) - len(alike),
                tuple(_changes(known)) if len(known) >= MIN_NIGHTS else None,
            )


def _comparable(entry: HistoryEntry, last: HistoryEntry) -> bool:
    kinds = {d.kind for d in differences(entry.processes.runs, last.processes.runs)}
    return not kinds & {"scenario", "hardware"}


def _changes(known: Sequence[tuple[HistoryEntry, float]]) -> Iterator[ChangePoint]:
    values = [value for _, value in known]
    points = change_points(values)
    edges = [0, *(index for index, _ in points), len(values)]
    levels = [median(values[begin:end]) for begin, end in pairwise(edges)]
    for (index, p), (before, after) in zip(points, pairwise(levels), strict=True):
        entry = known[index][0]
        yield ChangePoint(entry.began_at, entry.commit, before, after, p)


def change_points(values: Sequence[float]) -> list[tuple[int, float]]:
    """Return the change points of a series: the index and p-value of each level shift.

    The best split of the ranks in two (ruptures, least squares) is significant if at most a
    fraction ALPHA of the shuffled series can be split equally well. Both parts are then split
    recursively (Matteson and James, 2014). Finally, the best positions for that number of splits
    are computed jointly.
    """
    series = np.asarray(values, dtype=np.float64)
    ps = list(_splits(series, np.random.default_rng(0)))
    return list(zip(_best_splits(_ranks(series), len(ps))[0], ps, strict=True)) if ps else []


def _splits(values: Floats, rng: np.random.Generator) -> Iterator[float]:
    """Yield the p-value of every significant split of a series, in order of time."""
    if len(values) < 2 * MIN_SEGMENT:
        return
    ranks = _ranks(values)
    (index,), cost = _best_splits(ranks, 1)
    shuffled = (rng.permutation(ranks) for _ in range(PERMUTATIONS))
    as_good = sum(_best_splits(series, 1)[1] <= cost for series in shuffled)
    p = (1 + as_good) / (1 + PERMUTATIONS)
    if p > ALPHA:
        return
    yield from _splits(values[:index], rng)
    yield p
    yield from _splits(values[index:], rng)


def _ranks(values: Floats) -> Floats:
    return np.asarray(scipy.stats.rankdata(values), dtype=np.float64)


def _best_splits(ranks: Floats, count: int) -> tuple[list[int], float]:
    """Return the splits with the minimum sum of squared deviations in the parts, and that sum."""
    try:
        import ruptures  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError:
        raise InputError(
            "change points need ruptures; install it with: pip install 'llmbench[history]'"
        ) from None
    search = ruptures.KernelCPD(kernel="linear", min_size=MIN_SEGMENT).fit(ranks[:, None])
    ends = search.predict(n_bkps=count)
    return [int(end) for end in ends[:-1]], float(search.cost.sum_of_costs(ends))
