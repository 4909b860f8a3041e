"""Results of ``vllm bench serve --save-result --save-detailed``.

Its source: https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py. Every list has
an entry a request; times are seconds of one monotonic clock. A request is counted as failed where
it has an error or no output token, since whether it succeeded is not saved.
"""

from __future__ import annotations

import math
from datetime import datetime
from itertools import accumulate
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, field_validator

from llmbench.errors import InputError
from llmbench.runs.imports.documents import Document, Shape, validated
from llmbench.runs.imports.measured import NO_TOKENS, NOTHING, SENDING, Measured, chunks, uneven
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact

TOOL = "vllm bench serve"
MARKS = {"model_id", "request_throughput", "total_input_tokens"}
DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "errors")
RELEASE = "when it released a request to its limit of concurrency, later than due by its own lag"


class _Result(Shape):
    date: datetime
    model: str = Field(alias="model_id")
    request_rate: float | None = None
    burstiness: float = 1.0
    max_concurrency: int | None = None
    ramp_up_strategy: str | None = None
    input_lens: tuple[NonNegativeInt, ...]
    output_lens: tuple[NonNegativeInt, ...]
    ttfts: tuple[NonNegativeFloat, ...]
    itls: tuple[tuple[NonNegativeFloat, ...], ...]
    errors: tuple[str, ...]
    start_times: tuple[PositiveFloat, ...]
    queue_times: tuple[float, ...] | None = None

    @field_validator("date", mode="before")
    @classmethod
    def _as_it_writes_it(cls, found: Any) -> datetime:
        return datetime.strptime(str(found), "%Y%m%d-%H%M%S")  # noqa: DTZ007 (it names no zone)

    @property
    def is_paced(self) -> bool:
        """Whether requests came at a pace of their own, and not as places became free."""
        return self.ramp_up_strategy is not None or math.isfinite(self.request_rate or math.inf)

    @property
    def due(self) -> tuple[float, ...]:
        """When each request was to be sent; as a place became free where there was no pace."""
        if self.queue_times is None or not self.is_paced:
            return self.start_times
        pairs = zip(self.start_times, self.queue_times, strict=True)
        return tuple(start - max(0.0, queue) for start, queue in pairs)


def recognizes(document: Document) -> bool:
    """Tell whether a file was written by it, with details or without."""
    return document.keys >= MARKS


def read(document: Document) -> list[Measured]:
    """Read its one result; raises InputError where it has none for each request."""
    _check_details(document)
    result = validated(_Result, document.values[0], str(document.path))
    _check_lists(document, result)
    origin = min(result.due)
    records = tuple(_record(result, n, due - origin, origin) for n, due in enumerate(result.due))
    has_release = result.is_paced and result.queue_times is not None
    return [
        Measured(
            tool=TOOL,
            began_at=result.date.isoformat(),
            records=records,
            since=RELEASE if has_release else SENDING,
            model=result.model,
            load=_load(result),
            caveats=uneven(records),
        )
    ]


def _check_details(document: Document) -> None:
    path = document.path
    if len(document.values) > 1:
        raise InputError(
            f"{path}: holds {len(document.values)} results (--append-result); put each in a file"
        )
    if lacking := [key for key in DETAILS if key not in document.keys]:
        raise InputError(
            f"{path}: has nothing of single requests (no {', '.join(lacking)}); run vllm bench "
            "serve with --save-result --save-detailed"
        )
    if "start_times" not in document.keys:
        raise InputError(
            f"{path}: does not say when requests were sent (no start_times; older versions did not "
            "save them), so that there is no load to see; measure again with a newer vllm"
        )


def _check_lists(document: Document, result: _Result) -> None:
    lists: dict[str, tuple[Any, ...] | None] = {
        key: getattr(result, key) for key in (*DETAILS, "start_times", "queue_times")
    }
    lengths = {key: len(values) for key, values in lists.items() if values is not None}
    if len(set(lengths.values())) > 1 or not result.ttfts:
        told = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise InputError(f"{document.path}: expected as many entries in every list, found {told}")
    answered = zip(result.output_lens, result.ttfts, strict=True)
    if any(tokens and not ttft for tokens, ttft in answered):
        raise InputError(
            f"{document.path}: ttfts: 0 where there are tokens: its backend did not stream, and "
            "when they came is not saved; measure with one that streams"
        )


def _record(result: _Result, number: int, due: float, origin: float) -> Record:
    error, tokens = result.errors[number].strip(), result.output_lens[number]
    failed = bool(error) or not tokens
    sent = result.start_times[number] - origin
    times = accumulate(result.itls[number], initial=sent + result.ttfts[number])
    stamps = NOTHING if failed else chunks(list(times), tokens)
    return Record(
        request_id=number,
        phase="measured",
        due=due,
        sent=sent,
        started=None,
        token_times=stamps[0],
        token_counts=stamps[1],
        prompt_tokens=result.input_lens[number],
        max_new_tokens=None,
        finish="error" if failed else "ended",
        error_kind=_kind(error) if failed else None,
        error_message=redact(error.splitlines()[-1]) if error else None,
    )


def _kind(error: str) -> str:
    """Name an error by the exception of a traceback; a plain reason is the answer's HTTP status."""
    if not error or error.startswith("Never received a valid chunk"):
        return NO_TOKENS
    last = error.splitlines()[-1]
    return last.partition(":")[0].rpartition(".")[2] if "Traceback" in error else last


def _load(result: _Result) -> dict[str, Any]:
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
    return {"kind": "request_rate inf"}  # all at once, or by the times of a trace: it does not say
