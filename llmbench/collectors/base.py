"""What a collector is: probes that a process of its own reads at a steady pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Collector", "Probe", "Quantity"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """A name and unit under which a probe's readings are stored, e.g. ``gpu0_power_watts``, ``W``.

    ``unavailable`` is the reason why it cannot be read here, or None.
    """

    name: str
    unit: str
    unavailable: str | None = None


class Probe(Protocol):
    """Something that can be read again and again, inside the sampler's process."""

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds, in order."""

    def read(self) -> Sequence[float | None]:
        """Read every quantity once; None where a reading failed or is not available."""


class Collector(Protocol):
    """A part that watches the machine while a load runs."""

    def probe(self, pid: int) -> Probe:
        """Open the probe; ``pid`` is the process under test. Called in the sampler's process."""
