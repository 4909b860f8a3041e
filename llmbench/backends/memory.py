"""Peaks of memory by phase (load, prefill, decode), and memory that runs out told as a result.

What torch's allocator gave to tensors and what the kernel counts for a process are different
figures, and never one as the other.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from llmbench.collectors import proc
from llmbench.environment.probing import Reader
from llmbench.errors import LlmbenchError, OutOfMemoryError, Unavailable
from llmbench.units import format_bytes

if TYPE_CHECKING:
    import torch

SELF = Path("/proc/self")

# How allocators say that there is no more: torch on CPUs and GPUs, cuBLAS, onnxruntime.
NO_MORE = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Failed to allocate memory",
    "bfc_arena",
    "BFCArena",
)


# -- peaks -----------------------------------------------------------------------------------------


class Gauge(Protocol):
    """Something that keeps the peak of one kind of memory; its figures have names with a prefix."""

    @property
    def prefix(self) -> str:
        """What the names of its figures begin with."""

    def reset(self) -> None:
        """Forget the peak so far."""

    def peak(self) -> int | None:
        """Return the peak in bytes since then, or raise Unavailable with a reason."""


@dataclass(frozen=True, slots=True)
class Allocator:
    """Bytes of tensors on a GPU, as torch's allocator gave them out."""

    device: torch.device
    prefix: str = ""

    def reset(self) -> None:
        """Forget the peak so far."""
        import torch  # noqa: PLC0415 (validating a scenario must not import torch)

        torch.cuda.init()  # before it there are no statistics to reset
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Give the most bytes that tensors had at once."""
        import torch  # noqa: PLC0415 (the same)

        return torch.cuda.max_memory_allocated(self.device)


@dataclass(slots=True)
class Resident:
    """Resident memory of this process, whatever it is for, as the kernel counts it."""

    prefix: str = "rss_"
    _was_reset: bool = True

    def reset(self) -> None:
        """Forget the peak so far."""
        self._was_reset = proc.reset_rss_peak(SELF)

    def peak(self) -> int | None:
        """Give the most bytes that were resident at once."""
        if not self._was_reset:
            raise Unavailable(
                "the kernel does not let this process reset its memory peak (clear_refs)"
            )
        return proc.rss_peak(SELF)


@dataclass(frozen=True, slots=True)
class Unread:
    """A kind of memory that nobody keeps the peak of, and why."""

    reason: str
    prefix: str = ""

    def reset(self) -> None:
        """Forget nothing."""

    def peak(self) -> int:
        """Raise Unavailable."""
        raise Unavailable(self.reason)


@dataclass(slots=True)
class Peaks:
    """The peaks of each phase in bytes (``load_peak``, ``rss_load_peak``), or why there is none."""

    allocator: Gauge
    resident: Gauge = field(default_factory=Resident)
    memory: dict[str, int | None] = field(default_factory=dict)
    reader: Reader = field(default_factory=Reader)

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Take the peaks of what is done meanwhile."""
        gauges = (self.allocator, self.resident)
        for gauge in gauges:
            gauge.reset()
        yield
        for gauge in gauges:
            self._note(f"{gauge.prefix}{phase}_peak", gauge)

    def _note(self, name: str, gauge: Gauge) -> None:
        self.memory[name] = self.reader.read(name, gauge.peak)

    def since_reset(self) -> Mapping[str, int | None]:
        """Give all peaks, with that of the allocator since it was reset last."""
        self._note("allocator_peak", self.allocator)
        return self.memory


# -- no more of it ---------------------------------------------------------------------------------


@dataclass(slots=True)
class Asked:
    """What was asked of memory so far, in bytes, and what is being ``done``."""

    slots: int
    done: str = "loading the model"
    weight_bytes: int | None = None
    kv_bytes: int | None = None

    def refused(self, why: str) -> OutOfMemoryError:
        """Say that there is not so much, what it was for, and what would need less."""
        needs = {
            "of weights": self.weight_bytes,
            f"of KV cache for {self.slots:,} slots": self.kv_bytes,
        }
        known = [f"{format_bytes(size)} {what}" for what, size in needs.items() if size is not None]
        asked = f"; asked for {' and '.join(known)}" if known else ""
        return OutOfMemoryError(
            f"memory ran out while {self.done}{asked} ({why}); set fewer `engine.slots`, send "
            "shorter requests, or take a narrower `model.dtype` or a smaller model"
        )

    def check_host(self) -> None:
        """Raise OutOfMemoryError when a KV cache on the host is larger than its free memory.

        The kernel promises more than there is, and kills who makes use of it.
        """
        free = psutil.virtual_memory().available
        if self.kv_bytes is not None and self.kv_bytes > free:
            raise self.refused(f"{format_bytes(free)} are free")


@contextmanager
def told_when_out(asked: Asked) -> Iterator[None]:
    """Turn what allocators raise when there is no more into OutOfMemoryError."""
    try:
        yield
    except LlmbenchError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise asked.refused(first) from error


def ran_out(error: BaseException) -> bool:
    """Tell whether an error says that there is no more memory."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(words in str(error) for words in NO_MORE)
