"""Records of aiperf (https://github.com/ai-dynamo/aiperf), tested with 0.13.0.

``profile_export.jsonl`` has one line per request; ``profile_export_aiperf.json`` in the same folder
has the version, the model and the load. Timestamps are Unix times in nanoseconds; each latency is
stored with its unit.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field

from llmbench.errors import FileError
from llmbench.runs.imports import documents, measured
from llmbench.runs.imports.documents import (
    MAX_SECONDS,
    MAX_TOKENS,
    Document,
    Nanoseconds,
    Shape,
    validated,
)
from llmbench.runs.imports.measured import NO_CHUNKS, NO_TOKENS, SENDING, Chunks, Measured
from llmbench.runs.record import Finish, Record

TOOL = "aiperf"
CREDIT = (
    "when aiperf issued a request (its credit_issued_ns), which is later than the due time by its"
    " own lag and any wait for its concurrency limit"
)
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0}
NANO = 1e-9

Value = Annotated[float, Meta(ge=0, le=MAX_SECONDS / NANO)]


class _Times(Shape, frozen=True, kw_only=True):
    value: Value | tuple[Value, ...]
    unit: Literal["ns", "us", "ms", "sec"]

    @property
    def seconds(self) -> tuple[float, ...]:
        """The values converted to seconds."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return tuple(value * SECONDS[self.unit] for value in values)


class _Time(_Times, frozen=True, kw_only=True):
    value: Value | Annotated[tuple[Value, ...], Meta(min_length=1)]


class _Count(Shape, frozen=True, kw_only=True):
    value: Annotated[float, Meta(ge=0, le=MAX_TOKENS)]


class _Metrics(Shape, frozen=True, kw_only=True):
    time_to_first_token: _Time | None = None
    time_to_first_output_token: _Time | None = None
    chunk_gaps: _Times | None = field(default=None, name="inter_chunk_latency")
    request_latency: _Time | None = None
    http_req_connecting: _Time | None = None
    http_req_connection_reused: _Count | None = None
    input_sequence_length: _Count | None = None
    error_isl: _Count | None = None
    output_sequence_length: _Count | None = None


class _Metadata(Shape, frozen=True, kw_only=True):
    credit_issued_ns: Nanoseconds | None = None
    request_start_ns: Nanoseconds
    benchmark_phase: Literal["warmup", "profiling"] = "profiling"
    profiling_index: int | None = None
    was_cancelled: bool = False


class _Error(Shape, frozen=True, kw_only=True):
    code: int | None = None
    type: str | None = None
    message: str


class _Row(Shape, frozen=True, kw_only=True):
    metadata: _Metadata
    metrics: _Metrics
    error: _Error | None = None

    @property
    def due_ns(self) -> int:
        """The Unix time in ns at which aiperf issued the request or, if unknown, sent it."""
        return self.metadata.credit_issued_ns or self.metadata.request_start_ns


class _Model(Shape, frozen=True, kw_only=True):
    name: str


class _Models(Shape, frozen=True, kw_only=True):
    items: tuple[_Model, ...] = ()


class _Phase(Shape, frozen=True, kw_only=True):
    kind: str = "profiling"
    type: str
    rate: float | None = None
    concurrency: int | None = None


class _Input(Shape, frozen=True, kw_only=True):
    models: _Models = _Models()
    phases: tuple[_Phase, ...] = ()


class _Summary(Shape, frozen=True, kw_only=True):
    aiperf_version: str | None = None
    input: _Input = field(default=_Input(), name="input_config")

    @property
    def load(self) -> dict[str, Any]:
        """The load as scenario keys; empty unless there is exactly one profiling phase."""
        phases = [phase for phase in self.input.phases if phase.kind == "profiling"]
        return _load(phases[0]) if len(phases) == 1 else {}


def recognizes(document: Document) -> bool:
    """Return whether a file is an aiperf export (records or summary)."""
    return document.keys >= {"metadata", "metrics"} or "aiperf_version" in document.keys


def measured_in(document: Document) -> list[Measured]:
    """Return the measured load; raises InputError for a summary or several profiling phases."""
    if "aiperf_version" in document.keys:
        raise FileError(
            document.path,
            "aiperf's summary has no per-request records",
            remedy="import profile_export.jsonl from the same folder",
        )
    rows = [
        validated(_Row, value, document.where(index)) for index, value in enumerate(document.values)
    ]
    _check_phases(document, rows)
    summary = _summary(document.path)
    origin = min(row.due_ns for row in rows)
    records = tuple(_record(number, row, origin) for number, row in enumerate(rows))
    has_credits = all(row.metadata.credit_issued_ns for row in rows)
    return [
        Measured(
            kind=TOOL,
            tool=f"{TOOL} {summary.aiperf_version or ''}".strip(),
            began_at=measured.as_moment(origin * NANO),
            records=records,
            since=CREDIT if has_credits else SENDING,
            model=", ".join(model.name for model in summary.input.models.items) or None,
            load=summary.load,
            caveats=measured.uneven(records),
        )
    ]


def _check_phases(document: Document, rows: list[_Row]) -> None:
    phases = {row.metadata.profiling_index for row in rows} - {None}
    if len(phases) > 1:
        raise FileError(
            document.path,
            f"has {len(phases)} profiling phases, which may be different loads",
            remedy="run aiperf once per load, with one profiling phase each",
        )


def _summary(records: Path) -> _Summary:
    """Read aiperf's summary in the folder of the records, or return an empty one if missing."""
    path = records.with_name(f"{records.stem}_aiperf.json")
    if not path.expanduser().exists():
        return _Summary()
    return validated(_Summary, documents.read_document(path).values[0], str(path))


def _record(number: int, row: _Row, origin: int) -> Record:
    sent = (row.metadata.request_start_ns - origin) * NANO
    times, counts = NO_CHUNKS if row.error else _chunks(row.metrics)
    kind = _kind(row.error, sum(counts))
    content = row.metrics.time_to_first_output_token
    finish: Finish = "error" if kind else "ended"
    return Record(
        request_id=number,
        phase="warmup" if row.metadata.benchmark_phase == "warmup" else "measured",
        due=(row.due_ns - origin) * NANO,
        sent=sent,
        started=None,
        token_times=tuple(sent + time for time in times),
        token_counts=counts,
        prompt_tokens=_tokens(row.metrics.input_sequence_length or row.metrics.error_isl),
        max_new_tokens=None,
        finish="unfinished" if row.metadata.was_cancelled else finish,
        error_kind=kind,
        error_message=row.error.message if row.error else None,
        connect_seconds=_connecting(row.metrics),
        first_content=sent + content.seconds[0] if content else None,
    )


def _chunks(metrics: _Metrics) -> Chunks:
    """Return the chunks, with times since sending; without streaming, one final chunk."""
    tokens = _tokens(metrics.output_sequence_length) or 0
    first, whole, gaps = metrics.time_to_first_token, metrics.request_latency, metrics.chunk_gaps
    if first and gaps:
        times = list(accumulate(gaps.seconds, initial=first.seconds[0]))
        return measured.even_chunks(times, tokens)
    if first and whole:
        count = tokens if whole.seconds > first.seconds else 1
        return measured.first_and_last(first.seconds[0], whole.seconds[0], count, tokens)
    return (whole.seconds, (tokens,)) if whole else NO_CHUNKS


def _kind(error: _Error | None, tokens: int) -> str | None:
    if error is None:
        return None if tokens else NO_TOKENS
    is_status = error.code is not None and 100 <= error.code < 600  # noqa: PLR2004 (HTTP's range)
    return f"http-{error.code}" if is_status else error.type or "error"


def _tokens(count: _Count | None) -> int | None:
    return None if count is None else int(count.value)


def _connecting(metrics: _Metrics) -> float | None:
    """Return the time to open the connection in seconds; None if it was reused or is unknown."""
    reused, connecting = metrics.http_req_connection_reused, metrics.http_req_connecting
    is_new = reused is not None and not reused.value
    return connecting.seconds[0] if is_new and connecting else None


def _load(phase: _Phase) -> dict[str, Any]:
    if phase.type == "concurrency":
        return {"kind": "closed", "concurrency": phase.concurrency}
    load = {"kind": phase.type, "rate": phase.rate, "max_in_flight": phase.concurrency}
    return {key: value for key, value in load.items() if value is not None}
