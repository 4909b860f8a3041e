"""The sample results of other tools, and how to change them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmbench.analysis.metrics import summarize
from llmbench.runs import imports
from llmbench.runs.imports.measured import Measured, Values
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

DATA = Path(__file__).parent / "data" / "imports"
VLLM = DATA / "vllm.json"
VLLM_SUMMARY = DATA / "vllm-summary.json"
GUIDELLM = DATA / "guidellm.json"
GUIDELLM_SUMMARY = DATA / "guidellm-summary.json"
GUIDELLM_EARLY = DATA / "guidellm-early.json"
AIPERF = DATA / "aiperf" / "profile_export.jsonl"
AIPERF_SUMMARY = DATA / "aiperf" / "profile_export_aiperf.json"

LLAMA_BENCH = DATA / "llama-bench.jsonl"
LLAMA_BENCH_CSV = DATA / "llama-bench.csv"
LLAMA_BENCHY = DATA / "llama-benchy.json"
STAGE = DATA / "inference-perf" / "stage_0_lifecycle_metrics.json"
ALL_STAGES = DATA / "inference-perf" / "summary_lifecycle_metrics.json"
GENAI_BENCH = DATA / "genai-bench" / "D100_100_text-to-text_num_concurrency_4_time_2s.json"
BENCHMARK_REPORT = DATA / "benchmark-report.yaml"
SUMMARIES = (
    VLLM_SUMMARY, GUIDELLM_SUMMARY, LLAMA_BENCH, LLAMA_BENCHY, STAGE, GENAI_BENCH, BENCHMARK_REPORT,
)  # fmt: skip


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


def values(measured: Measured) -> Values:
    """Return the values of a load without requests."""
    assert measured.summary is not None
    return measured.summary.values


def value(measured: Measured, metric: str) -> float | None:
    """Compute a metric of what was measured, as it is for any run."""
    records = records_table(list(measured.records))
    run = Run(Case("case", "case", "tool", {}, {}), 1, measured.began_at, records)
    return summarize(run)[metric].value
