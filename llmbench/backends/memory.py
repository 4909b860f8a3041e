"""Memory peaks by phase (load, prefill, decode), and handling of out-of-memory errors.

Tensor bytes in torch's allocator and resident memory of the process are different quantities and
are never substituted for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil

from llmbench.collectors import proc
from llmbench.environment.probing import Reader
from llmbench.errors import LlmbenchError, OutOfMemoryError, Unavailable, ran_out
from llmbench.units import format_bytes

if TYPE_CHECKING:
    import torch

SELF = Path("/proc/self")


# -- peaks -----------------------------------------------------------------------------------------


class Gauge(Protocol):
    """A tracker of the peak of one kind of memory."""

    @property
    def prefix(self) -> str:
        """The prefix of this memory's metric names."""

    def reset(self) -> None:
        """Begin a new measurement of the peak."""

    def peak(self) -> int | None:
        """Return the peak in bytes since the reset; raises Unavailable with a reason."""


@dataclass(frozen=True, slots=True)
class Allocator:
    """The peak of tensor bytes on a GPU, as counted by torch's allocator."""

    device: torch.device
    prefix: str = ""

    def reset(self) -> None:
        """Reset torch's peak statistics of the device."""
        import torch  # noqa: PLC0415 (validating a scenario must not import torch)

        torch.cuda.init()  # before initialization there are no statistics to reset
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Return the peak of allocated bytes since the reset."""
        import torch  # noqa: PLC0415 (the same)

        return torch.cuda.max_memory_allocated(self.device)


@dataclass(slots=True)
class Resident:
    """The peak of the resident memory of processes, as counted by the kernel, added up.

    ``processes`` are their folders in /proc.
    """

    processes: Sequence[Path] = (SELF,)
    prefix: str = "rss_"
    _was_reset: bool = True

    def reset(self) -> None:
        """Reset the kernel's peak of each process."""
        self._was_reset = all([*map(proc.reset_rss_peak, self.processes)])

    def peak(self) -> int | None:
        """Return the peak of resident bytes since the reset; raises Unavailable if it failed."""
        if not self._was_reset:
            raise Unavailable(
                "the kernel does not let this process reset its memory peak (clear_refs)"
            )
        peaks = [*map(proc.rss_peak, self.processes)]
        return None if None in peaks else sum(filter(None, peaks))


@dataclass(frozen=True, slots=True)
class Untracked:
    """A kind of memory whose peak is not tracked, and the reason."""

    reason: str
    prefix: str = ""

    def reset(self) -> None:
        """Do nothing: there is no peak to reset."""

    def peak(self) -> int:
        """Raise Unavailable with the reason."""
        raise Unavailable(self.reason)


@dataclass(slots=True)
class Peaks:
    """Memory peaks by phase in bytes (``load_peak``, ``rss_load_peak``); None if unavailable."""

    allocator: Gauge
    resident: Gauge = field(default_factory=Resident)
    memory: dict[str, int | None] = field(default_factory=dict)
    reader: Reader = field(default_factory=Reader)

    @contextmanager
    def of(self, phase: str) -> Iterator[None]:
        """Measure the memory peaks of a phase, whose steps run inside the context."""
        gauges = (self.allocator, self.resident)
        for gauge in gauges:
            gauge.reset()
        yield
        for gauge in gauges:
            self._note(f"{gauge.prefix}{phase}_peak", gauge)

    def _note(self, name: str, gauge: Gauge) -> None:
        self.memory[name] = self.reader.read(name, gauge.peak)

    def since_reset(self) -> Mapping[str, int | None]:
        """Return the memory peaks of all phases, and the allocator's peak since its last reset."""
        self._note("allocator_peak", self.allocator)
        return self.memory


# -- out of memory ---------------------------------------------------------------------------------


@dataclass(slots=True)
class MemoryPlan:
    """The number of slots, the required memory in bytes, and the current ``stage`` of the run."""

    slots: int
    stage: str = "loading the model"
    weight_bytes: int | None = None
    kv_bytes: int | None = None

    def error(self, reason: str) -> OutOfMemoryError:
        """Return an error with the stage, the required memory and ways to reduce it."""
        needs = {
            "of weights": self.weight_bytes,
            f"of KV cache for {self.slots:,} slots": self.kv_bytes,
        }
        known = [f"{format_bytes(size)} {what}" for what, size in needs.items() if size is not None]
        needed = f"; needs {' and '.join(known)}" if known else ""
        return OutOfMemoryError(
            f"memory ran out while {self.stage}{needed} ({reason}); reduce `engine.slots`, use "
            "shorter requests, a `model.dtype` of fewer bits or a smaller model"
        )

    def check_host(self) -> None:
        """Raise OutOfMemoryError when a KV cache on the host exceeds the available memory.

        Otherwise the kernel would overcommit and later kill the process.
        """
        free = psutil.virtual_memory().available
        if self.kv_bytes is not None and self.kv_bytes > free:
            raise self.error(f"{format_bytes(free)} are available")


@contextmanager
def as_out_of_memory(plan: MemoryPlan) -> Iterator[None]:
    """Convert allocators' out-of-memory errors to OutOfMemoryError."""
    try:
        yield
    except LlmbenchError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        first = str(error).strip().partition("\n")[0] or type(error).__name__
        raise plan.error(first) from error
