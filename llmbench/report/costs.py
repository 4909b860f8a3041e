"""Sentences on what a backend costs besides time: quality, memory and energy."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from llmbench.analysis.metrics import METRICS
from llmbench.analysis.nodes import NODE
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import show
from llmbench.report.wording import MAX_NAMED, listed
from llmbench.units import format_number

QUALITY = ("perplexity_ratio", "top1_agreement")
WEIGHTS = "memory_weights_bytes"
PEAKS = ("memory_allocator_peak_bytes", "memory_rss_decode_peak_bytes")  # of GPUs, or else of CPUs
ENERGY = "energy_joules_per_output_token"


def sentences(results: Results) -> list[str]:
    """Return the quality, memory and energy of the backends, as far as they were measured.

    These are figures without claims: a range if a backend's cases differ.
    """
    cases = results.measured
    return [*_quality(cases), *_memory(cases), *_energy(cases)]


def _quality(cases: Sequence[CaseResults]) -> Iterator[str]:
    references = {run.quality.reference or "" for case in cases for run in case.runs} - {""}
    others = [case for case in cases if case.backend not in references]
    if text := _of_metrics(others, QUALITY):
        backends = dict.fromkeys(case.backend for case in others)
        whose = f"Quality of {next(iter(backends))}" if len(backends) == 1 else "Quality"
        yield f"{whose} compared with {listed(sorted(references))}: {text}."


def _memory(cases: Sequence[CaseResults]) -> Iterator[str]:
    peak = next((key for key in PEAKS if _ranges(cases, key)), PEAKS[0])
    if text := _of_metrics(cases, (WEIGHTS, peak)):
        yield f"Memory: {text}."


def _energy(cases: Sequence[CaseResults]) -> Iterator[str]:
    if any(NODE in case.point for case in cases):
        return  # report/hardware.py has the energy by kind of node
    if text := _of_backends(cases, ENERGY):
        yield f"Energy per output token: {text}."


def _of_metrics(cases: Sequence[CaseResults], metrics: Collection[str]) -> str:
    texts = ((METRICS[metric].label, _of_backends(cases, metric)) for metric in metrics)
    return "; ".join(f"{label} {text}" for label, text in texts if text)


def _of_backends(cases: Sequence[CaseResults], metric: str) -> str:
    """Return a metric of each backend: ``eager 12.0 MiB and int8 5.10 MiB``; empty if unknown."""
    ranges = _ranges(cases, metric)
    if len(ranges) > MAX_NAMED:
        least, most = min(ranges, key=ranges.__getitem__), max(ranges, key=ranges.__getitem__)
        ends = _figure(ranges[least][0], metric), _figure(ranges[most][1], metric)
        return f"{ends[0]} ({least}) to {ends[1]} ({most})"
    texts = {
        backend: " to ".join(dict.fromkeys(_figure(end, metric) for end in ends))
        for backend, ends in ranges.items()
    }
    if len({*texts.values()}) == 1:
        backends = {case.backend for case in cases}
        each = " each" if len(texts) > 1 else ""
        if len(texts) == len(backends):
            return f"{next(iter(texts.values()))}{each}"
    return listed([f"{backend} {text}" for backend, text in texts.items()]) if texts else ""


def _ranges(cases: Sequence[CaseResults], metric: str) -> dict[str, tuple[float, float]]:
    """Return the least and the greatest value of a metric by backend."""
    values: dict[str, list[float]] = {}
    for case in cases:
        if (value := case.estimates[metric].value) is not None:
            values.setdefault(case.backend, []).append(value)
    return {backend: (min(of_cases), max(of_cases)) for backend, of_cases in values.items()}


def _figure(value: float, metric: str) -> str:
    unit = METRICS[metric].unit
    return show(value, unit) if unit else format_number(value, 4)
