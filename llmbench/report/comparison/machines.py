"""The machines that run sets were measured on, side by side, and how many of them there were."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.roofline.peaks import DevicePeaks, peaks_of
from llmbench.report.comparison.side_by_side import Side
from llmbench.report.table import MISSING, Cell, Column, Table, missing
from llmbench.runs.run import Run
from llmbench.units import format_bytes, format_number, format_scaled

COMMIT_LETTERS = 10


def _at(*path: str) -> Callable[[Run], Any]:
    """Look into what surrounded a run."""

    def look(run: Run) -> Any:
        node: Any = run.environment
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    return look


def _bytes(look: Callable[[Run], Any]) -> Callable[[Run], str | None]:
    def told(run: Run) -> str | None:
        size = look(run)
        return None if size is None else format_bytes(size)

    return told


def _gpus(told: Callable[[dict[str, Any]], str | None]) -> Callable[[Run], str | None]:
    """Say something of every GPU, alike ones together."""

    def look(run: Run) -> str | None:
        each = [told(gpu) for gpu in run.environment.get("gpus") or []]
        known = [text for text in each if text]
        several = {text: known.count(text) for text in known}
        return ", ".join(f"{n} × {t}" if n > 1 else t for t, n in several.items()) or None

    return look


def _commit(run: Run) -> str | None:
    git = run.environment.get("git") or {}
    commit = git.get("commit")
    return commit and f"{commit[:COMMIT_LETTERS]}{' and changes' * bool(git.get('dirty'))}"


def _gpu_bytes(gpu: dict[str, Any]) -> str | None:
    size = gpu.get("memory_bytes")
    return None if size is None else format_bytes(size)


def _watts(gpu: dict[str, Any]) -> str | None:
    watts = gpu.get("power_limit_watts")
    return None if watts is None else f"{format_number(watts)} W"


def _peak(told: Callable[[DevicePeaks], str]) -> Callable[[Run], str | None]:
    """Say something of what a machine was measured to do at the most."""

    def look(run: Run) -> str | None:
        roof = peaks_of(run.backend_report)
        return None if roof is None else told(roof)

    return look


def _flops(roof: DevicePeaks) -> str:
    return f"{format_scaled(roof.flops_per_second, 'FLOP/s')} in {roof.precision}"


# a row of the table each: its label, and what is told of a run (None: it does not say)
FACTS: dict[str, Callable[[Run], Any]] = {
    "processor": _at("cpu", "model"),
    "cores that could be used": _at("cpu", "usable_cores"),
    "limit of the container, cores": _at("container", "cpu_limit_cores"),
    "memory": _bytes(_at("memory", "total_bytes")),
    "GPU": _gpus(lambda gpu: gpu.get("name")),
    "GPU memory": _gpus(_gpu_bytes),
    "GPU driver": _gpus(lambda gpu: gpu.get("driver")),
    "GPU power limit": _gpus(_watts),
    "memory bandwidth, measured": _peak(lambda roof: format_scaled(roof.bytes_per_second, "B/s")),
    "matrix products, measured": _peak(_flops),
    "kernel": _at("system", "kernel"),
    "llmbench": _at("llmbench"),
    "commit of the working directory": _commit,
}


def machines(compared: Sequence[Side]) -> Table:
    """One row a fact that some side tells, with all its values where the runs of a side differ."""
    columns = (
        Column("fact", numeric=False),
        *(Column(side.name, numeric=False) for side in compared),
    )
    found = [_row(label, look, compared) for label, look in FACTS.items()]
    rows = tuple(row for row in found if any(cell.text != MISSING for cell in row[1:]))
    return Table("Machines", columns, rows, " ".join(how_many(compared)))


def _row(label: str, look: Callable[[Run], Any], compared: Sequence[Side]) -> tuple[Cell, ...]:
    cells = [_cell(side, look) for side in compared]
    differs = len({cell.text for cell in cells}) > 1
    return (Cell(label, detail="≠ differs" if differs else ""), *cells)


def _cell(side: Side, look: Callable[[Run], Any]) -> Cell:
    values = {str(value) for run in _runs(side) if (value := look(run)) is not None}
    return Cell(" / ".join(sorted(values))) if values else missing("its runs do not tell")


def _runs(side: Side) -> Iterator[Run]:
    return (run for case in side.cases.values() for run in case.runs)


# -- how many --------------------------------------------------------------------------------------


def how_many(compared: Sequence[Side]) -> Iterator[str]:
    """Say how many cards and machines the figures rest on, and what they cannot show therefore."""
    if any(cards := [_cards(side) for side in compared]):
        yield _of_cards(compared, cards)
    if not any(run.environment for side in compared for run in _runs(side)):
        yield "The runs do not tell of their machines."
        return
    kinds = [{str(hardware_of(run.environment)) for run in _runs(side)} for side in compared]
    for side, each in zip(compared, kinds, strict=True):
        if len(each) > 1:
            yield f"{side.name} was measured on {len(each)} kinds of machines."
    if len(set().union(*kinds)) > 1:
        yield (
            "One machine a side, as far as runs tell: nothing is known of how machines of one kind "
            "differ, and a ratio is one of these machines."
        )
    else:
        yield (
            "All sides tell of the same hardware. If it was several machines, nothing is known of "
            "how machines of one kind differ."
        )


def _cards(side: Side) -> set[str]:
    """Give the ids of the GPUs that a side could use: those watched, or else all there were."""
    found: set[str] = set()
    for run in _runs(side):
        watched = run.facts.get("gpus") or run.environment.get("gpus") or []
        found |= {gpu["uuid"] for gpu in watched if gpu.get("uuid")}
    return found


def _of_cards(compared: Sequence[Side], cards: Sequence[set[str]]) -> str:
    told = ", ".join(f"{side.name} {len(ids)}" for side, ids in zip(compared, cards, strict=True))
    if all(ids == cards[0] for ids in cards):
        return f"GPU cards: {told}, the same on all sides."
    if max(map(len, cards)) > 1:
        return f"GPU cards: {told}."
    return f"GPU cards: {told}; nothing is known of how cards of one kind differ."
