"""The machines of compared run sets, side by side, and whether their hardware is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.nodes import gpus_of, kind_of
from llmbench.analysis.roofline.peaks import DevicePeaks, peaks_of
from llmbench.report.comparison.side_by_side import NamedResults
from llmbench.report.table import PAIR, Cell, Table, missing, text_columns
from llmbench.runs.run import Run
from llmbench.units import format_bytes, format_number, format_scaled

COMMIT_LETTERS = 10


def _at(*path: str) -> Callable[[Run], Any]:
    """Return a function that reads the value at a path in a run's environment, or None."""

    def look(run: Run) -> Any:
        node: Any = run.environment
        for key in path:
            node = node.get(key) if isinstance(node, dict) else None
        return node

    return look


def _then(look: Callable[[Any], Any], describe: Callable[[Any], str]) -> Callable[[Any], Any]:
    """Return a function that describes the value that ``look`` returns; None stays None."""
    return lambda source: None if (value := look(source)) is None else describe(value)


def _gpus(describe: Callable[[dict[str, Any]], str | None]) -> Callable[[Run], str | None]:
    """Return a function that describes a run's GPUs; equal descriptions are merged with a count."""

    def look(run: Run) -> str | None:
        counts = Counter(filter(None, map(describe, run.environment.get("gpus") or [])))
        return ", ".join(f"{n} × {text}" if n > 1 else text for text, n in counts.items()) or None

    return look


def _commit(run: Run) -> str | None:
    git = run.environment.get("git") or {}
    commit = git.get("commit")
    return commit and f"{commit[:COMMIT_LETTERS]}{' and changes' * bool(git.get('dirty'))}"


def _of_gpu(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda gpu: gpu.get(key)


def _peaks(run: Run) -> DevicePeaks | None:
    return peaks_of(run.backend_report)


def _bandwidth(peaks: DevicePeaks) -> str:
    return format_scaled(peaks.bytes_per_second, "B/s")


def _flops(peaks: DevicePeaks) -> str:
    return f"{format_scaled(peaks.flops_per_second, 'FLOP/s')} in {peaks.precision}"


def _watts(watts: float) -> str:
    return f"{format_number(watts)} W"


# machine facts by row label; None if a run did not record them
FACTS: dict[str, Callable[[Run], Any]] = {
    "CPU": _at("cpu", "model"),
    "usable CPU cores": _at("cpu", "usable_cores"),
    "CPU limit of the container": _at("container", "cpu_limit_cores"),
    "memory": _then(_at("memory", "total_bytes"), format_bytes),
    "GPU": _gpus(_of_gpu("name")),
    "GPU memory": _gpus(_then(_of_gpu("memory_bytes"), format_bytes)),
    "GPU driver": _gpus(_of_gpu("driver")),
    "GPU power limit": _gpus(_then(_of_gpu("power_limit_watts"), _watts)),
    "memory bandwidth, measured": _then(_peaks, _bandwidth),
    "matrix products, measured": _then(_peaks, _flops),
    "kernel": _at("system", "kernel"),
    "llmbench": _at("llmbench"),
    "commit of the working directory": _commit,
}


def machines(compared: Sequence[NamedResults]) -> Table:
    """Return one row per recorded fact about the machines; all values if a side's runs differ.

    A side that was measured on several kinds of node has a column for each.
    """
    of_columns = dict(column for side in compared for column in _columns(side))
    columns = text_columns("fact", *of_columns)
    values = {
        label: [_values(runs, look) for runs in of_columns.values()]
        for label, look in FACTS.items()
    }
    rows = tuple(_row(label, sides) for label, sides in values.items() if any(sides))
    return Table("Machines", columns, rows, " ".join(how_many(compared)))


def _columns(side: NamedResults) -> Iterator[tuple[str, list[Run]]]:
    """Yield the runs of a side by kind of node, or all of them if they are of one kind."""
    kinds: dict[str | None, list[Run]] = {}
    for run in _runs(side):
        kinds.setdefault(kind_of(run), []).append(run)
    if len(kinds) < PAIR:
        yield side.name, [run for runs in kinds.values() for run in runs]
        return
    for kind, runs in kinds.items():
        yield f"{side.name}, {kind or 'unknown node'}", runs


def _values(runs: Sequence[Run], look: Callable[[Run], Any]) -> list[str]:
    return sorted({str(value) for run in runs if (value := look(run)) is not None})


def _row(label: str, sides: Sequence[list[str]]) -> tuple[Cell, ...]:
    differs = any(values != sides[0] for values in sides)
    cells = (
        Cell(" / ".join(values)) if values else missing("not recorded in its runs")
        for values in sides
    )
    return (Cell(label, detail="≠ differs" if differs else ""), *cells)


def _runs(side: NamedResults) -> Iterator[Run]:
    return (run for case in side.cases.values() for run in case.runs)


# -- the hardware ----------------------------------------------------------------------------------


def how_many(compared: Sequence[NamedResults]) -> Iterator[str]:
    """Yield sentences on the number of GPUs, the hardware, and differences not accounted for."""
    if any(cards := [_cards(side) for side in compared]):
        yield _gpu_counts(compared, cards)
    if not any(run.environment for side in compared for run in _runs(side)):
        yield "The runs did not record their machines."
        return
    kinds = [{str(hardware_of(run.environment)) for run in _runs(side)} for side in compared]
    for side, hardware in zip(compared, kinds, strict=True):
        if len(hardware) > 1:
            yield f"{side.name} was measured on {len(hardware)} kinds of hardware."
    if any(hardware != kinds[0] for hardware in kinds):
        yield (
            "Different hardware: the ratios hold for these machines only. Differences between two "
            "machines of one kind are not accounted for."
        )
    else:
        yield (
            f"Same {'kinds of ' * (len(kinds[0]) > 1)}hardware on all sides. Differences between "
            f"two machines of {'one' if len(kinds[0]) > 1 else 'that'} kind are not accounted for."
        )


def _cards(side: NamedResults) -> set[str]:
    """Return the UUIDs of a side's GPUs: those that were sampled, or else all of the machine."""
    return {uuid for run in _runs(side) for uuid in gpus_of(run)}


def _gpu_counts(compared: Sequence[NamedResults], cards: Sequence[set[str]]) -> str:
    counts = ", ".join(f"{side.name} {len(ids)}" for side, ids in zip(compared, cards, strict=True))
    if all(ids == cards[0] for ids in cards):
        return f"GPUs: {counts}, the same on all sides."
    if max(map(len, cards)) > 1:
        return f"GPUs: {counts}."
    return f"GPUs: {counts}. Differences between two GPUs of one kind are not accounted for."
