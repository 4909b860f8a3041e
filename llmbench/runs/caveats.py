"""Stored reasons to doubt a run, each ending with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caveat:
    """A reason to doubt a run: ``kind`` for machines, ``message`` and ``remedy`` for people."""

    kind: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}"


def harness(verdict: str, reasons: Sequence[str]) -> Caveat:
    """Say that the harness itself did not keep up."""
    return Caveat(
        f"harness-{verdict}",
        f"The harness makes these latencies {verdict}: {'; '.join(reasons)}.",
        "Lower the load, free the machine, or set `clients` on an endpoint to use more cores.",
    )


def imported(tool: str, since: str) -> Caveat:
    """Say that another tool measured, and from when its latencies count."""
    return Caveat(
        "imported",
        f"Measured by {tool} and imported: whether its client kept up was not judged, and latencies"
        f" count from {since}.",
        "Measure again with llmbench for latencies from the due time and a verdict on the harness.",
    )


def recompiled(count: int) -> Caveat:
    """Say that the backend compiled something inside the measured window."""
    return Caveat(
        "recompiled",
        f"The backend compiled inside the measured window; graphs made there: {count}.",
        "Their time is in the latencies; raise `warmup` or set `dynamic: true` on the backend.",
    )


def not_effective(setting: str, requested: object, effective: object) -> Caveat:
    """Say that a setting is not what was asked for."""
    return Caveat(
        "not-effective",
        f"`{setting}` was requested as {requested!r} but was {effective!r}.",
        "Compare this run only with runs whose effective setting is the same.",
    )


def pruned_dense() -> Caveat:
    """Say that pruned weights are kept as zeros."""
    return Caveat(
        "pruned-dense",
        "Pruned weights are stored and multiplied as zeros: no memory or time is saved.",
        "two-four is fast on GPUs with sparse tensor cores; dropping layers is fast anywhere.",
    )


def slow_packed_dtype() -> Caveat:
    """Say that packed weights meet activations in float32."""
    return Caveat(
        "slow-packed-dtype",
        "The CPU kernels for packed weights are slow in float32.",
        "Set model.dtype to bfloat16, or use onnx, to see what the scheme can do.",
    )


QUALITY_BREACHED = "quality-breached"


def quality_breached(label: str, side: str, bound: float, value: float | None) -> Caveat:
    """Say that the outputs are further from the reference's than the scenario allows."""
    found = "is not known" if value is None else f"is {value:.4g}"
    limit = "at most" if side == "max" else "at least"
    return Caveat(
        QUALITY_BREACHED,
        f"Quality is out of bounds: {label} {found}, {limit} {bound:g} is asked for.",
        "Its speed is no gain until the bound is met; use a gentler scheme or move the bound.",
    )


def quality_unknown(reason: str) -> Caveat:
    """Say that outputs were not held against the reference."""
    return Caveat(
        "quality-unknown",
        f"Quality was asked for and is not known: {reason}.",
        "Whether this backend says what the model says is open.",
    )


def slowed(share: float) -> Caveat:
    """Say that steps were made slower on purpose."""
    return Caveat(
        "slowed",
        f"Every step was made {100 * share:g} % slower on purpose.",
        "Unset LLMBENCH_SLOWDOWN to measure what it really takes.",
    )


def unsteady_warmup(rounds: int) -> Caveat:
    """Say that step times had not settled when the warm-up's bound was reached."""
    return Caveat(
        "unsteady-warmup",
        f"Step times were not steady after {rounds} warm-up rounds.",
        "Other programs may be using the machine; make it quiet and run again.",
    )


def requests_failed(failed: int, total: int, commonest: str) -> Caveat:
    """Say that some requests did not get their answer, and what most of them met."""
    return Caveat(
        "requests-failed",
        f"{failed} of {total} measured requests failed or were not finished; most of them:"
        f" {commonest}.",
        "Latency figures cover the good ones only; see the errors by kind.",
    )


def uneven_chunks(answers: int, total: int) -> Caveat:
    """Say that chunks and tokens are not one to one."""
    return Caveat(
        "uneven-chunks",
        f"In {answers} of {total} answers the chunks are not one token each.",
        "ITL is the time between chunks; compare backends by TPOT, which counts tokens.",
    )


def counted_by_tokenizer(answers: int, total: int) -> Caveat:
    """Say that the server did not count its tokens."""
    return Caveat(
        "counted-by-tokenizer",
        f"The server did not say how many tokens {answers} of {total} answers have; they were"
        " counted by the tokenizer of the scenario's `model`.",
        "Set `usage: true` if the server knows it; else give the model that it serves.",
    )


ENDED_EARLY = {
    "error-rate": ("too many requests failed", "Mend what fails, or raise `stop.error_rate`."),
    "client-lag": (
        "the client could not keep up",
        "Lower the load, set `clients` to use more cores, or raise `stop.client_lag`.",
    ),
}


def ended_early(reason: str) -> Caveat:
    """Say that a load was given up."""
    why, remedy = ENDED_EARLY[reason]
    return Caveat("ended-early", f"The load was ended early: {why}.", remedy)


def mlperf_invalid(missed: Sequence[str]) -> Caveat:
    """Say that LoadGen calls the run invalid."""
    return Caveat(
        "mlperf-invalid",
        f"MLPerf's LoadGen calls this run INVALID: not met were {', '.join(missed)}.",
        "Its summary under logs/ says what is missing; lower `target_qps` or raise the minima.",
    )


def above_roof(label: str, share: float) -> Caveat:
    """Say that more than the measured peak was used."""
    return Caveat(
        "above-roof",
        f"{label} is {share:.2f} of the measured peak, which cannot be more than 1.",
        "The model fits in a cache, or the peak was measured while the machine was busy: then"
        " remove the folder `roof` of the cache (docs/metrics.md) and run again.",
    )


def roof_under_load(percent: float) -> Caveat:
    """Say that peaks were measured while others used the machine."""
    return Caveat(
        "roof-under-load",
        f"Other programs used {percent:.0f} % of the processors while its peaks were measured.",
        "MBU and MFU may be too high; stop what else is running and measure again.",
    )


def profile_disturbed(phase: str, ratio: float) -> Caveat:
    """Say that steps took less while they were profiled, which they cannot by themselves."""
    return Caveat(
        "profile-disturbed",
        f"Under the profiler {phase} steps took {ratio:.2f} times what they took before it.",
        "Something else was using the machine; make it quiet and profile again.",
    )


def profiler_heavy(phase: str, ratio: float) -> Caveat:
    """Say that steps took much longer while they were profiled."""
    return Caveat(
        "profiler-heavy",
        f"The profiler made {phase} steps {ratio:.1f} times as long.",
        "What many short operators and the host take is overstated; a longer step is told better.",
    )


def uneven_kernels(phase: str, fewest: int, most: int) -> Caveat:
    """Say that equal steps ran unequal numbers of kernels."""
    return Caveat(
        "uneven-kernels",
        f"The profiled {phase} steps ran between {fewest} and {most} kernels each, not all alike.",
        "The profiler may have dropped some, or steps differ; see the trace before using counts.",
    )


def never_steady(method: str) -> Caveat:
    """Say that no warm-up could be told from the rest."""
    return Caveat(
        "never-steady",
        f"Latencies were not seen to become steady ({method}), so no warm-up was cut.",
        "Send more requests, or fewer a second: a queue that grows has no steady state.",
    )


def short_energy_window(seconds: float, least: float) -> Caveat:
    """Say that energy was counted for a short time."""
    return Caveat(
        "short-energy-window",
        f"Energy was counted for {seconds:.1f} s; {least:.0f} s or more blur what sampling does.",
        "Send more requests, or read the joules as an indication only.",
    )


def energy_unverified(part: str) -> Caveat:
    """Say that nothing stands beside an energy counter."""
    return Caveat(
        "energy-unverified",
        f"The energy counter of {part} was not held against its power, which was not seen often"
        " enough.",
        "Add `gpu` to `collect`, or measure for longer.",
    )


def energy_disagrees(part: str, share: float) -> Caveat:
    """Say that an energy counter and the integrated power are apart."""
    return Caveat(
        "energy-disagrees",
        f"The energy counter of {part} and its integrated power are {100 * share:.0f} % apart.",
        "Beyond 10 % the energy would be invalid; compare it on the same card only.",
    )


def few_repeats(count: int) -> Caveat:
    """Say that there are too few processes for an interval."""
    return Caveat(
        "few-repeats",
        f"Too few processes of this case finished for an interval: {count}.",
        "Set `repeats` to 3 or more.",
    )


def unsupported_percentile(percentile: str, n: int, floor: int) -> Caveat:
    """Say that a percentile rests on fewer samples than it needs."""
    return Caveat(
        "unsupported-percentile",
        f"The {percentile} rests on {n} samples; 99 % confidence in it needs {floor}.",
        "Raise `requests`, or read it as an indication only.",
    )
