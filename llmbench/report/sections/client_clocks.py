"""The clocks of load clients on other machines, as compared with that of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmbench.report import table
from llmbench.report.results import Results
from llmbench.report.table import Cell, Column, Table
from llmbench.runs.run import Run

COLUMNS = (
    Column("run", numeric=False),
    Column("client", numeric=False),
    Column("node", numeric=False),
    Column("offset", "how far its clock was ahead before the load"),
    Column("error bound", "the most that a time of this client may be wrong"),
    Column("drift", "how much faster its clock ran, in parts per million"),
)
NOTE = (
    "All times of a client are corrected by the offset and the drift of its node's clock, measured "
    "by round trips before and after the load: half of the shortest one bounds the error."
)
LOST = "the client was lost before its clock could be compared again"


def offsets(run: Run) -> list[dict[str, Any]]:
    """Return the measured clock offsets of a run's clients, none if all were on one machine."""
    stored: list[dict[str, Any]] = run.facts.get("clock_offsets", [])
    return stored


def client_clocks(results: Results) -> Table:
    """Return the clock offsets, one row per run and client; no rows if there are none."""
    rows = tuple(row for case in results.measured for run in case.runs for row in _rows(run))
    return Table("Clocks of the load clients", COLUMNS, rows, NOTE)


def as_json(results: Results) -> list[dict[str, Any]]:
    """Return the clock offsets, one row per run and client."""
    runs = [run for case in results.measured for run in case.runs]
    return [{"run": run.name, **offset} for run in runs for offset in offsets(run)]


def _rows(run: Run) -> Iterator[tuple[Cell, ...]]:
    for offset in offsets(run):
        yield (
            Cell(run.name),
            Cell(str(offset["client"])),
            Cell(offset["node"]),
            table.quantity(offset["offset_seconds"], "s"),
            table.quantity(offset["error_bound_seconds"], "s"),
            _drift(offset),
        )


def _drift(offset: dict[str, Any]) -> Cell:
    drift, bound = offset["drift_ppm"], offset["drift_error_bound_ppm"]
    if drift is None:
        return table.missing(LOST)
    return Cell(f"{drift:.3g} ppm", drift, f"± {bound:.3g}", unit="ppm")
