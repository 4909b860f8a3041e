"""The protocols of collectors and their probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from pydantic import Field

from llmbench import plugins
from llmbench.runs.caveats import Caveat
from llmbench.units import Seconds


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the servers under test over HTTP: root URLs, and the options of requests.

    Secrets are the names of environment variables.
    """

    urls: tuple[str, ...]
    api_key_env: str
    headers: Mapping[str, str]
    verify: bool | str


class CollectorOptions(plugins.Options):
    """The options that every collector has."""

    interval: Seconds = Field(default=0.1, ge=0.01, description="time between readings")

    @property
    def idle_seconds(self) -> float:
        """The time for which the idle machine is measured before, and again after, the load."""
        return 0.0

    def check_backends(self, kinds: Sequence[str]) -> None:  # noqa: ARG002 (the default)
        """Raise ValueError if the collector cannot be used with backends of these kinds.

        The default does nothing.
        """
        return

    def for_servers(self, access: Access | None) -> tuple[Self, ...]:  # noqa: ARG002 (the default)
        """Return the options for a run whose servers are reached like this; None: it is local.

        There is a collector for each. The default returns one, unchanged.
        """
        return (self,)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A series' name and unit, e.g. ``gpu0_power_average_watts`` in ``W``.

    ``unavailable`` is the reason why it cannot be read on this machine, or None.
    """

    name: str
    unit: str
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The final result of a probe: JSON-serializable facts, and caveats."""

    facts: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


class Probe(Protocol):
    """A reader of quantities, opened and read in the sampler process.

    An exception in any method ends this probe only: its series keep their readings, and a caveat
    stores the reason.
    """

    def quantities(self) -> Sequence[Quantity]:
        """Return the quantities, in the order of readings; called once, before the first."""

    def begin(self) -> None:
        """Record the initial counters as the window begins; all probes are open by then."""

    def read(self) -> Sequence[float | None]:
        """Return one value per quantity; None for one that is unavailable in this reading."""

    def not_before(self) -> float:
        """Return the time, of ``time.monotonic()``, before which readings would bring nothing new.

        The next reading is the last one due before it. The default, 0, is to read at every
        interval.
        """
        return 0.0

    def read_at(self) -> float | None:
        """Return the time, of ``time.monotonic()``, of the values that `read` returned last.

        The default, None, is the time at which it returned.
        """
        return None

    def reasons(self) -> Mapping[str, str]:
        """Return why quantities had no value in any reading, by name, after the last reading.

        The default knows none.
        """
        return {}

    def conclude(self) -> Conclusion:
        """Return facts and caveats after the last reading."""


class Collector(plugins.Part):
    """A part that monitors the machine during a load.

    ``number`` counts the collectors of a kind in a run, from 1; it is set before `probe`.
    """

    number: int = 1

    def probe(self, pid: int) -> Probe:
        """Open a probe for the process under test; called in the sampler process."""
        raise NotImplementedError


COLLECTORS = plugins.Kind("collector", Collector)
