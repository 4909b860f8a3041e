"""How much of what its machine can do a run made use of: MBU, MFU and what they rest on.

Each figure is a value with the number of steps behind it, or None with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from llmbench.analysis.roofline.datasheets import datasheet
from llmbench.analysis.roofline.operations import ModelFacts, Roof, Work
from llmbench.analysis.roofline.steps import Steps

Figure = tuple[float | None, int, str | None]

UNREPORTED = "this backend does not report it"
NO_WINDOW = "no steady window: the measured requests were all due at one moment"
PHASES = ("decode", "prefill")
WORK = ("seconds", "bytes", "flops")
FIGURES = (
    "mbu",
    "mbu_datasheet",
    "mfu",
    "mfu_datasheet",
    *(f"{phase}_step_{what}" for phase in PHASES for what in WORK),
    "memory_kv_used_bytes",
)


def figures(
    account: Mapping[str, Any], records: pa.Table, window: tuple[float, float] | None
) -> dict[str, Figure]:
    """Compute every figure of FIGURES from what a run's backend said of itself and its records."""
    told, reasons = account.get("model"), account.get("reasons", {})
    if told is None:
        return dict.fromkeys(FIGURES, (None, 0, reasons.get("model", UNREPORTED)))
    facts, steps = ModelFacts.of(told), Steps(records)
    cached = steps.most_cached()
    found: dict[str, Figure] = {
        "memory_kv_used_bytes": (float(cached * facts.kv_token_bytes), records.num_rows, None)
    }
    if window is None:
        return dict.fromkeys(FIGURES, (None, 0, NO_WINDOW)) | found
    decode, prefill = steps.decode(facts, window), steps.prefill(facts, window)
    roof, why_none = roof_of(account), reasons.get("roof", UNREPORTED)
    return {
        **_of_work("decode", decode),
        **_of_work("prefill", prefill),
        **dict(_shares(decode, prefill, _Peaks.of(roof, why_none))),
        **found,
    }


def roof_of(account: Mapping[str, Any]) -> Roof | None:
    """Give what a run's machine was measured to do, or None where it was not."""
    told = account.get("roof")
    return Roof(**told) if told else None


def _of_work(phase: str, work: Work) -> dict[str, Figure]:
    """Give the means of a step; prefills are one request each."""
    totals = dict(zip(WORK, (work.seconds, work.moved_bytes, work.flops), strict=True))
    return {
        f"{phase}_step_{what}": _figure(total / work.steps if work.steps else None, phase, work)
        for what, total in totals.items()
    }


def _figure(value: float | None, phase: str, work: Work) -> Figure:
    why = None if work.steps else f"no {phase} lies within the steady window"
    return value, work.steps, why


@dataclass(frozen=True, slots=True)
class _Peaks:
    """Peaks of bandwidth and of computing, measured and from the maker, or why there are none."""

    measured: tuple[float, float] | str
    maker: tuple[float, float] | str

    @classmethod
    def of(cls, roof: Roof | None, why_none: str) -> _Peaks:
        if roof is None:
            return cls(why_none, why_none)
        sheet = datasheet(roof.hardware)
        flops = sheet.flops_per_second.get(roof.precision) if sheet else None
        told = f"the maker's peaks of {roof.hardware} in {roof.precision} are not noted down"
        return cls(
            measured=(roof.bytes_per_second, roof.flops_per_second),
            maker=(sheet.bytes_per_second, flops) if sheet and flops else told,
        )


def _shares(decode: Work, prefill: Work, peaks: _Peaks) -> Iterator[tuple[str, Figure]]:
    for suffix, known in (("", peaks.measured), ("_datasheet", peaks.maker)):
        if isinstance(known, str):
            yield f"mbu{suffix}", (None, 0, known)
            yield f"mfu{suffix}", (None, 0, known)
            continue
        mbu = decode.bandwidth_share(known[0]) if decode.steps else None
        mfu = prefill.compute_share(known[1]) if prefill.steps else None
        yield f"mbu{suffix}", _figure(mbu, "decode", decode)
        yield f"mfu{suffix}", _figure(mfu, "prefill", prefill)
