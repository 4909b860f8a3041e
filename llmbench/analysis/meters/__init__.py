"""Wall meter logs: their layout (cheap to import), reading, and joining to runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["ENERGY_UNITS", "TIME_FORMATS", "Layout", "TimeFormat"]

TimeFormat = Literal["auto", "iso", "unix", "unix-ms"]
TIME_FORMATS: tuple[TimeFormat, ...] = get_args(TimeFormat)
ENERGY_UNITS = {"J": 1.0, "Wh": 3.6e3, "kWh": 3.6e6}


@dataclass(frozen=True, slots=True)
class Layout:
    """The column names of a wall meter's log, and the units of their values.

    Energy is cumulative, in ``energy_unit`` (a key of ENERGY_UNITS). ``utc_offset``, e.g.
    ``+02:00``, is the time zone of times without one. ``offset_seconds`` is added to every time to
    correct the meter's clock.
    """

    time: str = "time"
    watts: str | None = "watts"
    energy: str | None = None
    energy_unit: str = "J"
    time_format: TimeFormat = "auto"
    utc_offset: str | None = None
    offset_seconds: float = 0.0
