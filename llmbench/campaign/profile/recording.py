"""Make the steps of a phase: by the clock alone, and again with torch's profiler on."""

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

DISCARDED = 3  # first steps: caches are cold, and a profiler drops kernels as it begins

Ranges = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """The trace of profiled steps, and what is known of those that were not discarded."""

    path: Path
    device: torch.device
    tokens: int
    cache_tokens: tuple[int, int]


def ranges(*, nvtx: bool) -> Ranges:
    """Give what marks a step for Nsight Systems, or marks nothing.

    Raises InputError when torch has no CUDA, which the marks come from.
    """
    if not nvtx:
        return nullcontext
    if not torch.cuda.is_available():
        raise InputError("--nvtx: torch has no CUDA on this machine; leave it out")
    return torch.cuda.nvtx.range


def name_fused_kernels() -> None:
    """Have torch.compile give its C++ kernels names that the profiler sees, as Triton's have."""
    from torch._inductor import config  # noqa: PLC0415 (takes a moment, and is for this pass alone)

    config.cpp.enable_kernel_profile = True


def time_steps(phase: Phase, count: int, marks: Ranges) -> list[float]:
    """Make steps without the profiler and give the seconds of each, the first ones discarded."""
    with frozen_gc():
        seconds = [_timed(phase, marks) for _ in range(DISCARDED + count)]
    return seconds[DISCARDED:]


def _timed(phase: Phase, marks: Ranges) -> float:
    phase.ready()
    with marks(phase.name):
        began = time.monotonic()
        chunks = phase.step()
        seconds = time.monotonic() - began
    phase.took(chunks)
    return seconds


def record(phase: Phase, count: int, device: torch.device, path: Path, marks: Ranges) -> Recorded:
    """Make steps under torch's profiler, each in a range of its own, and export the trace."""
    with frozen_gc(), profile(activities=_activities(device)) as profiler:
        seen = list(_steps(phase, DISCARDED + count, marks))[DISCARDED:]
    profiler.export_chrome_trace(str(path))
    lengths = [length for _, cached in seen for length in cached]
    tokens = sum(given for given, _ in seen)
    return Recorded(path, device, tokens, (min(lengths), max(lengths)))


def _activities(device: torch.device) -> list[ProfilerActivity]:
    on_gpu = [ProfilerActivity.CUDA] if device.type == "cuda" else []
    return [ProfilerActivity.CPU, *on_gpu]


def _steps(phase: Phase, count: int, marks: Ranges) -> Iterator[tuple[int, tuple[int, int]]]:
    for number in range(count):
        phase.ready()
        with marks(phase.name), record_function(step_name(phase.name, number)):
            chunks = phase.step()
        yield phase.took(chunks), phase.cache_tokens
