"""Model bandwidth and FLOPs utilization (MBU, MFU) of a run, with bytes and FLOPs per step.

Sources: roofline, Williams et al. 2009; MBU, Databricks, LLM Inference Performance Engineering,
2023; MFU, Chowdhery et al., PaLM, 2022 (https://arxiv.org/abs/2204.02311).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from llmbench.analysis.roofline.peaks import DevicePeaks, datasheet, peaks_of
from llmbench.analysis.roofline.steps import Steps
from llmbench.analysis.roofline.work import ModelCosts, Work
from llmbench.analysis.values import NO_WINDOW, Value, unavailable

UNREPORTED = "this backend does not report the required data"
IN_CHUNKS = "prompts are prefilled in chunks, whose steps have no times in the records"
PHASES = ("decode", "prefill")
WORK = ("seconds", "bytes", "flops")
EFFICIENCY_METRICS = (
    "mbu",
    "mbu_datasheet",
    "mfu",
    "mfu_datasheet",
    *(f"{phase}_step_{quantity}" for phase in PHASES for quantity in WORK),
    "memory_kv_used_bytes",
)


def efficiency(
    backend_report: Mapping[str, Any], records: pa.Table, window: tuple[float, float] | None
) -> dict[str, Value]:
    """Return EFFICIENCY_METRICS of a run from its backend's report, records and steady window.

    memory_kv_used_bytes = peak number of cached positions × bytes per position.
    """
    stored, reasons = backend_report.get("model_costs"), backend_report.get("reasons", {})
    if stored is None:
        return unavailable(EFFICIENCY_METRICS, reasons.get("model_costs", UNREPORTED))
    costs, steps = ModelCosts.of(stored), Steps(records)
    used = Value(float(steps.peak_cached_positions() * costs.kv_token_bytes), records.num_rows)
    if window is None:
        return unavailable(EFFICIENCY_METRICS, NO_WINDOW) | {"memory_kv_used_bytes": used}
    if "prefill_chunk" in backend_report.get("effective", {}):
        return unavailable(EFFICIENCY_METRICS, IN_CHUNKS) | {"memory_kv_used_bytes": used}
    decode, prefill = steps.decode(costs, window), steps.prefill(costs, window)
    return {
        **_means("decode", decode),
        **_means("prefill", prefill),
        **_utilization(
            decode, prefill, peaks_of(backend_report), reasons.get("device_peaks", UNREPORTED)
        ),
        "memory_kv_used_bytes": used,
    }


def _means(phase: str, work: Work) -> dict[str, Value]:
    """Return the mean seconds, bytes and FLOPs per step."""
    totals = zip(WORK, (work.seconds, work.moved_bytes, work.flops), strict=True)
    return {
        f"{phase}_step_{quantity}": _value(total / work.steps if work.steps else None, phase, work)
        for quantity, total in totals
    }


def _value(value: float | None, phase: str, work: Work) -> Value:
    reason = None if work.steps else f"no {phase} lies within the steady window"
    return Value(value, work.steps, reason)


def _utilization(
    decode: Work, prefill: Work, peaks: DevicePeaks | None, reason: str
) -> dict[str, Value]:
    """Return MBU and MFU, relative to the measured and to the datasheet peaks.

    MBU = bytes / s / B of the decode steps and MFU = FLOPs / s / F of the prefills, where s are the
    seconds of these steps, B is the peak in bytes/s and F in FLOP/s.
    """
    if peaks is None:
        return unavailable(("mbu", "mfu", "mbu_datasheet", "mfu_datasheet"), reason)
    sheet = datasheet(peaks.hardware)
    flops = sheet.flops_per_second.get(peaks.precision) if sheet else None
    values = {
        "mbu": _value(decode.bandwidth_share(peaks.bytes_per_second), "decode", decode),
        "mfu": _value(prefill.compute_share(peaks.flops_per_second), "prefill", prefill),
    }
    if not sheet or not flops:
        unlisted = f"no datasheet peaks of {peaks.hardware} in {peaks.precision} are known"
        return values | unavailable(("mbu_datasheet", "mfu_datasheet"), unlisted)
    return values | {
        "mbu_datasheet": _value(decode.bandwidth_share(sheet.bytes_per_second), "decode", decode),
        "mfu_datasheet": _value(prefill.compute_share(flops), "prefill", prefill),
    }
