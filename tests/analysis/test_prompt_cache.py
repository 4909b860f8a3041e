"""What requests found in a prompt cache, in the metrics."""

from __future__ import annotations

from llmbench.analysis.metrics import summarize
from llmbench.analysis.metrics.prompt_cache import KEYS, UNREPORTED
from llmbench.runs.record import Record
from llmbench.runs.request import Phase
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case


def record(number: int, cached: int | None, phase: Phase = "measured") -> Record:
    return Record(
        number, phase, 0.0, 0.0, 0.0, (0.5, 1.0), (1, 1), 8, 2, "length", cached_tokens=cached
    )


def values(*records: Record) -> list[float | None]:
    run = Run(Case("c", "c", "fake", {}, {}), 1, "2026-01-01T00:00:00+00:00",
              records=records_table(list(records)))  # fmt: skip
    return [summarize(run)[key].value for key in KEYS]


def test_hits_and_cached_tokens_are_those_of_measured_requests_with_a_report() -> None:
    sent = [record(0, 6), record(1, 0), record(2, None), record(3, 8, phase="warmup")]
    assert values(*sent) == [0.5, 6 / 16, 6]


def test_without_a_report_nothing_is_known() -> None:
    assert values(record(0, None)) == [None, None, None]
    assert UNREPORTED == "no response has a report of cached tokens"
