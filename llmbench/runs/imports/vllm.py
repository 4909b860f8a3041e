"""Results of ``vllm bench serve --save-result``, with or without ``--save-detailed``.

Source: https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py. Every list has one
entry per request; times are in seconds on one monotonic clock. Success is not stored: a request
with an error, or without output tokens, counts as failed. Without the lists, only the statistics
that vllm computed are known, in milliseconds.
"""

from __future__ import annotations

import math
from datetime import datetime
from itertools import accumulate
from typing import Annotated, Any

from msgspec import Meta, field

from llmbench.errors import FileError
from llmbench.runs.imports import measured
from llmbench.runs.imports.documents import (
    MAX_SECONDS,
    Amount,
    Count,
    Document,
    Offset,
    Seconds,
    Shape,
    Statistics,
    validated,
)
from llmbench.runs.imports.measured import (
    FROM_SENDING,
    MILLISECOND,
    NO_CHUNKS,
    NO_TOKENS,
    SENDING,
    Measured,
    Summary,
    Values,
)
from llmbench.runs.record import Record

TOOL = "vllm bench serve"
MARKS = {"model_id", "request_throughput", "total_input_tokens"}
DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "errors", "start_times")
RELEASE = (
    "when vllm released a request to wait for its concurrency limit, which is later than the due"
    " time by its own lag"
)

Positive = Annotated[float, Meta(gt=0, le=MAX_SECONDS)]


class _Run(Shape, frozen=True, kw_only=True):
    date: str
    model: str = field(name="model_id")
    request_rate: float | None = None
    burstiness: float = 1.0
    max_concurrency: int | None = None
    ramp_up_strategy: str | None = None

    def __post_init__(self) -> None:
        try:
            self.began_at()
        except ValueError as error:
            raise ValueError(f"date: {error}") from None

    def began_at(self) -> datetime:
        """Parse the date, which has no time zone; raises ValueError if invalid."""
        return datetime.strptime(self.date, "%Y%m%d-%H%M%S")  # noqa: DTZ007

    @property
    def is_paced(self) -> bool:
        """Whether requests were sent at a rate (open loop)."""
        return self.ramp_up_strategy is not None or math.isfinite(self.request_rate or math.inf)


class _Result(_Run, frozen=True, kw_only=True):
    input_lens: tuple[Count, ...]
    output_lens: tuple[Count, ...]
    ttfts: tuple[Seconds, ...]
    itls: tuple[tuple[Seconds, ...], ...]
    errors: tuple[str, ...]
    start_times: tuple[Positive, ...]
    queue_times: tuple[Offset, ...] | None = None

    @property
    def due(self) -> tuple[float, ...]:
        """The due time of each request; without a rate, the time of sending."""
        if self.queue_times is None or not self.is_paced:
            return self.start_times
        pairs = zip(self.start_times, self.queue_times, strict=True)
        return tuple(start - max(0.0, queue) for start, queue in pairs)


def recognizes(document: Document) -> bool:
    """Return whether a file is a result of vllm bench serve, with or without --save-detailed."""
    return document.keys >= MARKS


def measured_in(document: Document) -> list[Measured]:
    """Return the measured loads: one with its requests, else a summary of each result."""
    if missing := [key for key in DETAILS if key not in document.keys]:
        return _summaries(document, missing)
    if len(document.values) > 1:
        raise FileError(
            document.path,
            f"has {len(document.values)} results (--append-result)",
            "one",
            "write one per file",
        )
    result = validated(_Result, document.values[0], str(document.path))
    _check_lists(document, result)
    origin = min(result.due)
    records = tuple(_record(result, n, due - origin, origin) for n, due in enumerate(result.due))
    has_release = result.is_paced and result.queue_times is not None
    return [
        Measured(
            kind="vllm",
            tool=TOOL,
            began_at=result.began_at().isoformat(),
            records=records,
            since=RELEASE if has_release else SENDING,
            model=result.model,
            load=_load(result),
            caveats=measured.uneven(records),
        )
    ]


def _check_lists(document: Document, result: _Result) -> None:
    lists = [(key, getattr(result, key)) for key in (*DETAILS, "queue_times")]
    lengths = {key: len(values) for key, values in lists if values is not None}
    if len(set(lengths.values())) > 1 or not result.ttfts:
        listed = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise FileError(document.path, f"found {listed}", "non-empty, equally long lists")
    answered = zip(result.output_lens, result.ttfts, strict=True)
    if any(tokens and not ttft for tokens, ttft in answered):
        raise FileError(
            document.path,
            "ttfts: 0 for responses with tokens: the backend did not stream, so the token times "
            "are unknown",
            remedy="measure with a streaming backend",
        )


def _record(result: _Result, number: int, due: float, origin: float) -> Record:
    error, tokens = result.errors[number].strip(), result.output_lens[number]
    failed = bool(error) or not tokens
    sent = result.start_times[number] - origin
    times = accumulate(result.itls[number], initial=sent + result.ttfts[number])
    chunks = NO_CHUNKS if failed else measured.even_chunks(list(times), tokens)
    return Record(
        request_id=number,
        phase="measured",
        due=due,
        sent=sent,
        started=None,
        token_times=chunks[0],
        token_counts=chunks[1],
        prompt_tokens=result.input_lens[number],
        max_new_tokens=None,
        finish="error" if failed else "ended",
        error_kind=_kind(error) if failed else None,
        error_message=error.splitlines()[-1] if error else None,
    )


def _kind(error: str) -> str:
    """Return the kind of an error: the exception of a traceback, or the HTTP reason phrase."""
    if not error or error.startswith("Never received a valid chunk"):
        return NO_TOKENS
    last = error.splitlines()[-1]
    return last.partition(":")[0].rpartition(".")[2] if "Traceback" in error else last


def _load(result: _Run) -> dict[str, Any]:
    limit = result.max_concurrency
    limited = {} if limit is None else {"max_in_flight": limit}
    if result.ramp_up_strategy:
        return {"kind": f"{result.ramp_up_strategy} ramp", **limited}
    if result.is_paced:
        gamma = {} if result.burstiness == 1 else {"burstiness": result.burstiness}
        kind = "gamma" if gamma else "poisson"
        return {"kind": kind, "rate": result.request_rate, **gamma, **limited}
    if limit is not None:
        return {"kind": "closed", "concurrency": limit}
    return {"kind": "request_rate inf"}  # all at once, or from a trace: unknown


# -- without requests ------------------------------------------------------------------------------

LATENCIES = {"ttft": FROM_SENDING, "tpot": ("tpot",), "itl": ("itl",), "e2el": ("e2e",)}
SAVE_DETAILED = "Run `vllm bench serve` with `--save-result --save-detailed`."
UPDATE = "Measure with a newer vllm, which saves when each request was sent (`start_times`)."


class _Summary(_Run, frozen=True, kw_only=True):
    duration: Positive
    completed: Count
    failed: Count | None = None
    num_prompts: Count | None = None
    total_input_tokens: Count
    total_output_tokens: Count = 0
    request_throughput: Amount
    request_goodput: Amount | None = None
    output_throughput: Amount | None = None
    total_token_throughput: Amount | None = None
    draft_tokens: Count = field(default=0, name="spec_decode_draft_tokens")
    accepted_tokens: Count = field(default=0, name="spec_decode_accepted_tokens")

    @property
    def requests(self) -> int | None:
        """The number of requests, with failed ones; None if unknown."""
        failed = self.failed
        return self.num_prompts if failed is None else self.completed + failed


def _summaries(document: Document, missing: list[str]) -> list[Measured]:
    """Return the loads of a file without requests; several (--append-result) are a sweep."""
    has_several = len(document.values) > 1
    remedy = UPDATE if missing == ["start_times"] else SAVE_DETAILED
    loads = []
    for index, value in enumerate(document.values):
        result = validated(_Summary, value, document.where(index))
        load = _load(result)
        values = _values(result, value, document.where(index))
        loads.append(
            Measured(
                kind="vllm",
                tool=TOOL,
                began_at=result.began_at().isoformat(),
                summary=Summary(values, result.requests, remedy),
                model=result.model,
                load=load,
                point=measured.point_of(load) if has_several else {},
            )
        )
    return loads


def _values(result: _Summary, document: dict[str, Any], where: str) -> Values:
    requests, completed = result.requests, result.completed
    tokens = result.total_output_tokens
    values = measured.known(
        {
            "output_tokens_per_second": (result.output_throughput, tokens),
            "total_tokens_per_second": (
                result.total_token_throughput,
                tokens + result.total_input_tokens,
            ),
            "requests_per_second": (result.request_throughput, completed),
            "goodput_requests_per_second": (result.request_goodput, completed),
            "makespan_seconds": (result.duration, 1),
            "failed_requests": (
                None if requests is None else max(0, requests - completed),
                requests,
            ),
            "draft_acceptance": (
                result.accepted_tokens / result.draft_tokens if result.draft_tokens else None,
                result.draft_tokens,
            ),
        }
    )
    for key, names in LATENCIES.items():
        statistics = {
            name: document.get(f"{'median' if name == 'p50' else name}_{key}_ms")
            for name in Statistics.__struct_fields__
        }
        checked = validated(Statistics, statistics, f"{where}: {key}").known
        values |= measured.latency(names, checked, 0 if key == "itl" else completed, MILLISECOND)
    return values
