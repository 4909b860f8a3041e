"""Run the steps of a phase: first timed only, then under torch's profiler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from llmbench.analysis.trace.events import step_name
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.campaign.profile.phases import Phase
from llmbench.errors import InputError

DISCARDED = 3  # first steps: caches are cold, and the profiler drops kernels at its start

Ranges = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The trace file of profiled steps, with the number of tokens of the retained steps.

    ``cache_tokens`` is the minimum and maximum number of cached tokens per row.
    """

    path: Path
    device: torch.device
    tokens: int
    cache_tokens: tuple[int, int]


def ranges(*, nvtx: bool) -> Ranges:
    """Return a function that returns a context manager for each step.

    With ``nvtx``, it marks the step for Nsight Systems, otherwise it does nothing. Raises
    InputError if ``nvtx`` is set and torch cannot use CUDA on this machine.
    """
    if not nvtx:
        return nullcontext
    if not torch.cuda.is_available():
        raise InputError("--nvtx: torch cannot use CUDA on this machine; omit the option")
    return torch.cuda.nvtx.range


def name_fused_kernels() -> None:
    """Make torch.compile name its C++ kernels for the profiler, like Triton kernels."""
    from torch._inductor import config  # noqa: PLC0415 (slow to import, needed only here)

    config.cpp.enable_kernel_profile = True


def time_steps(phase: Phase, count: int, marks: Ranges) -> list[float]:
    """Run steps without the profiler; return each one's seconds, discarding the first few."""
    with frozen_gc():
        seconds = [_timed(phase, marks) for _ in range(DISCARDED + count)]
    return seconds[DISCARDED:]


def _timed(phase: Phase, marks: Ranges) -> float:
    phase.ready()
    with marks(phase.name):
        began = time.monotonic()
        chunks = phase.step()
        seconds = time.monotonic() - began
    phase.count(chunks)
    return seconds


def record(phase: Phase, count: int, device: torch.device, path: Path, marks: Ranges) -> Recorded:
    """Run steps under torch's profiler, each in its own trace range, and export the trace."""
    with frozen_gc(), profile(activities=_activities(device)) as profiler:
        steps = list(_steps(phase, DISCARDED + count, marks))[DISCARDED:]
    profiler.export_chrome_trace(str(path))
    lengths = [length for _, cached in steps for length in cached]
    tokens = sum(count for count, _ in steps)
    return Recorded(path, device, tokens, (min(lengths), max(lengths)))


def _activities(device: torch.device) -> list[ProfilerActivity]:
    on_gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    return [ProfilerActivity.CPU, *on_gpu]


def _steps(phase: Phase, count: int, marks: Ranges) -> Iterator[tuple[int, tuple[int, int]]]:
    for number in range(count):
        phase.ready()
        with marks(phase.name), record_function(step_name(phase.name, number)):
            chunks = phase.step()
        yield phase.count(chunks), phase.cache_tokens
