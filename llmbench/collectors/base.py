"""What a collector is: a probe that a process of its own reads at a steady pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field

from llmbench import plugins
from llmbench.runs.caveats import Caveat
from llmbench.units import Seconds


class CollectorOptions(plugins.Options):
    """What every collector can be told."""

    interval: Seconds = Field(default=0.1, ge=0.01, description="between readings")

    @property
    def idle_seconds(self) -> float:
        """How long the collector also watches the idle machine, before and after the load."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """A name and unit under which readings are stored, e.g. ``gpu0_power_average_watts`` in ``W``.

    ``unavailable`` is the reason why it cannot be read here, or None.
    """

    name: str
    unit: str
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a probe found out once, at the end: JSON-able facts, and reasons to doubt the run."""

    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


class Probe(Protocol):
    """Something that can be read again and again, inside the sampler's process.

    An exception from any method ends this probe only: its series keep what they have, and the
    reason is stored as a caveat.
    """

    def quantities(self) -> Sequence[Quantity]:
        """List what each reading holds, in order; asked once, before the first reading."""

    def begin(self) -> None:
        """Note where counters stand, as the window begins; every probe is open by then."""

    def read(self) -> Sequence[float | None]:
        """Read every quantity once; None where this reading is not to be had."""

    def conclude(self) -> Conclusion:
        """Sum up after the last reading."""


class Collector(plugins.Part):
    """A part that watches the machine while a load runs."""

    def probe(self, pid: int) -> Probe:
        """Open the probe on the process under test; called in the sampler's process."""
        raise NotImplementedError


COLLECTORS = plugins.Kind("collector", Collector)
