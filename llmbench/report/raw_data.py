"""The request records embedded in a report: all, or a few and the hashes of the record files."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from llmbench.report.frames import RunSet as Frames
from llmbench.report.html import packed
from llmbench.report.table import Cell, Column, Table, quantity, text_columns
from llmbench.report.text import as_csv
from llmbench.runs.run import Run
from llmbench.runs.run_set import RunSet

LIMIT_BYTES = 4 * 2**20
SOME_LIMIT_BYTES = 2**20
NOTHING = Markup()
BYTES_PER_TOKEN = 4  # minimum size of a compressed token time


@dataclass(frozen=True, slots=True)
class RawData:
    """The records of a run set's requests, embedded in a page.

    ``requests`` is the number of requests. ``packed`` is the CSV of all records and ``sha256`` its
    hash; both are empty if the CSV is too large to embed. Then ``files`` lists the record files
    with their hashes, and ``some`` is the CSV of a few records, unless that is too large as well.
    """

    requests: int
    packed: Markup = NOTHING
    sha256: str = ""
    some: Markup = NOTHING
    files: Table | None = None


def raw_data(run_set: RunSet, few: Mapping[str, Collection[int]]) -> RawData:
    """Return the records of all requests to embed in a page, without the output token ids.

    ``few`` maps run names to the ids of the requests to embed if all records are too large.
    """
    measured = [run for run in run_set.runs if not run.failure]
    requests = sum(run.records.num_rows for run in measured)
    tokens = sum(pc.sum(run.records["output_tokens"]).as_py() or 0 for run in measured)
    if requests and tokens * BYTES_PER_TOKEN <= LIMIT_BYTES:
        text = _csv(run_set)
        compressed = packed(text)
        if len(compressed) <= LIMIT_BYTES:
            return RawData(requests, compressed, hashlib.sha256(text.encode()).hexdigest())
    some = packed(_csv(_only(run_set, few))) if any(few.values()) else NOTHING
    return RawData(
        requests,
        some=some if len(some) <= SOME_LIMIT_BYTES else NOTHING,
        files=_files(run_set.folder, measured),
    )


def _csv(run_set: RunSet) -> str:
    return as_csv(Frames(run_set).records.drop(columns="output_ids"))


def _only(run_set: RunSet, few: Mapping[str, Collection[int]]) -> RunSet:
    """Return a run set with only the requests whose ids ``few`` lists by run name."""
    kept = [
        replace(run, records=run.records.filter(pc.is_in(run.records["request_id"], ids)))
        for run in run_set.runs
        if (ids := pa.array(sorted(few.get(run.name, ())), pa.int64()))
    ]
    return replace(run_set, runs=tuple(kept))


def _files(folder: Path, runs: Iterable[Run]) -> Table:
    columns = (*text_columns("file"), Column("size"), *text_columns("SHA-256"))
    paths = [folder / "runs" / run.name / "records.parquet" for run in runs]
    return Table("Records", columns, tuple(_file(folder, path) for path in paths))


def _file(folder: Path, path: Path) -> tuple[Cell, ...]:
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    return Cell(str(path.relative_to(folder))), quantity(path.stat().st_size, "B"), Cell(digest)
