"""The protocols of collectors and of their probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pydantic import Field

from llmbench import plugins
from llmbench.runs.caveats import Caveat
from llmbench.units import Seconds


class CollectorOptions(plugins.Options):
    """Options of every collector."""

    interval: Seconds = Field(default=0.1, ge=0.01, description="time between readings")

    @property
    def idle_seconds(self) -> float:
        """How long the collector measures the idle machine before and after the load."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Quantity:
    """The name and unit of a series, e.g. ``gpu0_power_average_watts`` in ``W``.

    ``unavailable`` is the reason why it cannot be read here, or None.
    """

    name: str
    unit: str
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a probe returns once, at the end: facts that JSON can hold, and caveats."""

    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


class Probe(Protocol):
    """Reads its quantities repeatedly, in the sampler's process.

    An exception from any method ends this probe only: its series keep their readings, and the
    reason is stored as a caveat.
    """

    def quantities(self) -> Sequence[Quantity]:
        """Return what each reading holds, in order; called once, before the first reading."""

    def begin(self) -> None:
        """Note the state of counters as the window begins; every probe is open by then."""

    def read(self) -> Sequence[float | None]:
        """Return one value per quantity; None where this reading is unavailable."""

    def conclude(self) -> Conclusion:
        """Return facts and caveats after the last reading."""


class Collector(plugins.Part):
    """A part that watches the machine during a load."""

    def probe(self, pid: int) -> Probe:
        """Open a probe on the process under test; called in the sampler's process."""
        raise NotImplementedError


COLLECTORS = plugins.Kind("collector", Collector)
