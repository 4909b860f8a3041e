"""JSON reports of guidellm (https://github.com/vllm-project/guidellm), tested with 0.8.1.

guidellm stores the times of the first and the last token and the number of chunks, so TTFT, TPOT
(its ITL) and E2E are known, but not inter-token latencies. Requests that were never sent are
omitted. A report without requests (a sample size of 0) has only statistics.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from llmbench.errors import FileError
from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import (
    MAX_TOKENS,
    Amount,
    Count,
    Document,
    Offset,
    Seconds,
    Shape,
    validated,
)
from llmbench.runs.imports.measured import (
    FROM_SENDING,
    MILLISECOND,
    NO_CHUNKS,
    NO_TOKENS,
    SENDING,
    Chunks,
    Measured,
    Summary,
)
from llmbench.runs.record import Finish, Record

TOOL = "guidellm"
SCHEDULED = ("constant", "poisson", "trace")  # other strategies send as soon as possible
TARGET = "the time for which guidellm scheduled a request (its targeted_start)"
NO_TARGET = f"{SENDING}; some due times (targeted_start) are missing or before the start"
ERROR = re.compile(r"(\w+)\(")
STATUS = re.compile(r"\b([1-5]\d\d)\b")


class _Timings(Shape, frozen=True, kw_only=True):
    targeted_start: Offset | None = None
    resolve_start: Seconds | None = None
    request_start: Seconds | None = None
    first_token_iteration: Seconds | None = None
    first_output_token_iteration: Seconds | None = None
    last_token_iteration: Seconds | None = None
    token_iterations: Count = 0
    request_end: Seconds | None = None
    resolve_end: Seconds

    @property
    def sent(self) -> float | None:
        """When the request was sent, in Unix seconds; None if never."""
        return self.resolve_start if self.request_start is None else self.request_start

    @property
    def ended(self) -> float:
        """When the request ended, in Unix seconds."""
        return self.resolve_end if self.request_end is None else self.request_end


class _Info(Shape, frozen=True, kw_only=True):
    timings: _Timings
    scheduler_start_time: Seconds
    error: str | None = None

    @property
    def valid_target(self) -> float | None:
        """The due time in Unix seconds; None if unknown or before the start of the load.

        Worker processes of guidellm 0.8.1 may draw Poisson due times before they know the start,
        and then send everything at once.
        """
        target = self.timings.targeted_start
        return None if target is None or target < self.scheduler_start_time else target


class _Request(Shape, frozen=True, kw_only=True):
    info: _Info
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    request_args: str | None = None


class _Requests(Shape, frozen=True, kw_only=True):
    successful: tuple[_Request, ...]
    errored: tuple[_Request, ...]
    incomplete: tuple[_Request, ...]

    @property
    def by_finish(self) -> list[tuple[Finish, _Request]]:
        """The requests that were sent, each with its outcome: ended, error or unfinished."""
        all_requests: list[tuple[Finish, _Request]] = [
            *(("ended", request) for request in self.successful),
            *(("error", request) for request in self.errored),
            *(("unfinished", request) for request in self.incomplete),
        ]
        return [(end, one) for end, one in all_requests if one.info.timings.sent is not None]


class _Strategy(Shape, frozen=True, kw_only=True):
    type_: str
    rate: float | None = None
    streams: int | None = None


class _Backend(Shape, frozen=True, kw_only=True):
    model: str | None = None


class _Config(Shape, frozen=True, kw_only=True):
    strategy: _Strategy
    backend: _Backend = _Backend()


class _Counts(Shape, frozen=True, kw_only=True):
    successful: Count = 0
    total: Count | None = None


class _Percentiles(Shape, frozen=True, kw_only=True):
    p50: Amount | None = None
    p90: Amount | None = None
    p95: Amount | None = None
    p99: Amount | None = None


class _Distribution(Shape, frozen=True, kw_only=True):
    mean: Amount | None = None
    count: Count = 0
    percentiles: _Percentiles = _Percentiles()

    @property
    def statistics(self) -> dict[str, float | None]:
        """The statistics by name, in guidellm's unit."""
        return {"mean": self.mean, **msgspec.structs.asdict(self.percentiles)}


class _OfSuccessful(Shape, frozen=True, kw_only=True):
    successful: _Distribution = _Distribution()


class _Metrics(Shape, frozen=True, kw_only=True):
    request_totals: _Counts | None = None
    time_to_first_token_ms: _OfSuccessful = _OfSuccessful()
    inter_token_latency_ms: _OfSuccessful = _OfSuccessful()
    request_latency: _OfSuccessful = _OfSuccessful()
    requests_per_second: _OfSuccessful = _OfSuccessful()
    output_tokens_per_second: _OfSuccessful = _OfSuccessful()
    tokens_per_second: _OfSuccessful = _OfSuccessful()


class _Benchmark(Shape, frozen=True, kw_only=True):
    config: _Config
    requests: _Requests | None = None
    metrics: _Metrics | None = None
    start_time: Seconds | None = None
    duration: Amount | None = None


class _Metadata(Shape, frozen=True, kw_only=True):
    guidellm_version: str | None = None


class _Report(Shape, frozen=True, kw_only=True):
    metadata: _Metadata
    benchmarks: tuple[_Benchmark, ...]


def recognizes(document: Document) -> bool:
    """Return whether a file is a guidellm report."""
    return document.keys >= {"benchmarks", "metadata"}


def measured_in(document: Document) -> list[Measured]:
    """Return the measured load of each benchmark; raises FileError if one has no data."""
    report = validated(_Report, document.only, str(document.path))
    if not report.benchmarks:
        raise FileError(document.path, "benchmarks: is empty", "at least one")
    tool = f"{TOOL} {report.metadata.guidellm_version or ''}".strip()
    loads = []
    for number, benchmark in enumerate(report.benchmarks):
        load = _load(benchmark.config.strategy)
        common = {
            "kind": TOOL,
            "tool": tool,
            "model": benchmark.config.backend.model,
            "load": load,
            "point": measured.point_of(load) if len(report.benchmarks) > 1 else {},
        }
        if requests := benchmark.requests.by_finish if benchmark.requests else []:
            loads.append(_measured(common, benchmark.config.strategy, requests))
        else:
            loads.append(_summarized(common, benchmark, f"{document.path}: benchmarks[{number}]"))
    return loads


def _measured(
    common: dict[str, Any], strategy: _Strategy, requests: list[tuple[Finish, _Request]]
) -> Measured:
    due_times, since = _due_times(strategy, [request for _, request in requests])
    origin = min(due_times)
    return Measured(
        **common,
        began_at=measured.as_moment(origin),
        records=tuple(
            _record(number, finish, request, due - origin, origin)
            for number, ((finish, request), due) in enumerate(zip(requests, due_times, strict=True))
        ),
        since=since,
    )


def _summarized(common: dict[str, Any], benchmark: _Benchmark, where: str) -> Measured:
    metrics = benchmark.metrics
    totals = metrics.request_totals if metrics else None
    if metrics is None or totals is None or benchmark.start_time is None:
        raise FileError(
            where,
            "no request was sent or stored, and there are no statistics",
            remedy="run guidellm without a sample_size of 0",
        )
    ttft, itl = metrics.time_to_first_token_ms.successful, metrics.inter_token_latency_ms.successful
    e2e = metrics.request_latency.successful
    number = totals.successful
    values = {
        **measured.latency(FROM_SENDING, ttft.statistics, ttft.count, MILLISECOND),
        **measured.latency(("tpot",), itl.statistics, number, MILLISECOND),
        **measured.latency(("e2e",), e2e.statistics, e2e.count),
        **measured.known(
            {
                "output_tokens_per_second": (
                    metrics.output_tokens_per_second.successful.mean,
                    None,
                ),
                "total_tokens_per_second": (metrics.tokens_per_second.successful.mean, None),
                "requests_per_second": (metrics.requests_per_second.successful.mean, number),
                "makespan_seconds": (benchmark.duration, 1),
                "failed_requests": (
                    None if totals.total is None else max(0, totals.total - number),
                    totals.total,
                ),
            }
        ),
    }
    return Measured(
        **common,
        began_at=measured.as_moment(benchmark.start_time),
        summary=Summary(values, totals.total, "Run guidellm without a `sample_size` of 0."),
    )


def _due_times(strategy: _Strategy, requests: list[_Request]) -> tuple[list[float], str]:
    """Return the due times (else the send times) and the moment from which latencies count."""
    sent = [time for request in requests if (time := request.info.timings.sent) is not None]
    if strategy.type_ not in SCHEDULED:
        return sent, SENDING
    targets = [target for request in requests if (target := request.info.valid_target) is not None]
    return (targets, TARGET) if len(targets) == len(requests) else (sent, NO_TARGET)


def _record(number: int, finish: Finish, request: _Request, due: float, origin: float) -> Record:
    timings, error = request.info.timings, request.info.error
    times, counts = _chunks(request, finish)
    kind = _kind(error) if error else None
    if finish == "ended" and not sum(counts):
        finish, kind = "error", NO_TOKENS
    return Record(
        request_id=number,
        phase="measured",
        due=due,
        sent=measured.after(timings.sent, origin),
        started=None,
        token_times=tuple(time - origin for time in times),
        token_counts=counts,
        prompt_tokens=request.prompt_tokens,
        max_new_tokens=_most(request.request_args),
        finish=finish,
        error_kind=kind,
        error_message=error.partition(r"\n")[0] if error else None,
        first_content=measured.after(timings.first_output_token_iteration, origin),
    )


def _chunks(request: _Request, finish: Finish) -> Chunks:
    timings = request.info.timings
    tokens = timings.token_iterations if request.output_tokens is None else request.output_tokens
    first, last = timings.first_token_iteration, timings.last_token_iteration
    if first is not None and last is not None:
        return measured.first_and_last(first, last, timings.token_iterations, tokens)
    # without streaming, the response arrives at the end
    return ((timings.ended,), (tokens,)) if finish == "ended" and tokens else NO_CHUNKS


def _most(arguments: str | None) -> int | None:
    """Return the maximum number of output tokens in the request body, or None if not set."""
    try:
        sent = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        return None
    body = sent.get("body") if isinstance(sent, dict) else None
    if not isinstance(body, dict):
        return None
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    return most if isinstance(most, int) and 0 < most <= MAX_TOKENS else None


def _kind(error: str) -> str:
    """Return the kind of an error: its HTTP status, else the name of its exception."""
    name = ERROR.match(error)
    if name is None:
        return error.strip()
    status = STATUS.search(error) if name[1] == "HTTPStatusError" else None
    return f"http-{status[1]}" if status else name[1]


def _load(strategy: _Strategy) -> dict[str, Any]:
    match strategy.type_:
        case "synchronous":
            return {"kind": "closed", "concurrency": 1}
        case "concurrent":
            return {"kind": "closed", "concurrency": strategy.streams}
    return {"kind": strategy.type_} | ({} if strategy.rate is None else {"rate": strategy.rate})
