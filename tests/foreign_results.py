"""The sample results of other tools, and how to change them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmbench.analysis.metrics import summarize
from llmbench.runs import imports
from llmbench.runs.imports.measured import Measured
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

DATA = Path(__file__).parent / "data" / "imports"
VLLM = DATA / "vllm.json"
GUIDELLM = DATA / "guidellm.json"
GUIDELLM_EARLY = DATA / "guidellm-early.json"
AIPERF = DATA / "aiperf" / "profile_export.jsonl"
AIPERF_SUMMARY = DATA / "aiperf" / "profile_export_aiperf.json"


def loaded(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def changed(path: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    """Write a JSON sample with a change made in place into a folder."""
    document = loaded(path)
    change(document)
    copy = folder / path.name
    copy.write_text(json.dumps(document), "utf-8")
    return copy


def changed_lines(path: Path, folder: Path, change: Callable[[list[Any]], object]) -> Path:
    """Write a sample of JSON lines with a change made in place into a folder."""
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    change(rows)
    copy = folder / path.name
    copy.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return copy


def only(path: Path) -> Measured:
    """Read a file of one load."""
    (measured,) = imports.read_results(path)
    return measured


def value(measured: Measured, metric: str) -> float | None:
    """Compute a metric of what was measured, as it is for any run."""
    records = records_table(list(measured.records))
    run = Run(Case("case", "case", "tool", {}, {}), 1, measured.began_at, records)
    return summarize(run)[metric].value
