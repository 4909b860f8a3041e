"""How the log of a wall meter is laid out; light, so that the command line can name the choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TimeFormat = Literal["auto", "iso", "unix", "unix-ms"]
TIME_FORMATS: tuple[TimeFormat, ...] = get_args(TimeFormat)
ENERGY_UNITS = {"J": 1.0, "Wh": 3.6e3, "kWh": 3.6e6}


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in a log what stands, by the names of its columns.

    Energy is a running total in ``energy_unit`` (a key of ENERGY_UNITS). ``utc_offset`` such as
    ``+02:00`` is the zone of times that name none. ``offset_seconds`` are added to every time, for
    a meter whose clock is off.
    """

    time: str = "time"
    watts: str | None = "watts"
    energy: str | None = None
    energy_unit: str = "J"
    time_format: TimeFormat = "auto"
    utc_offset: str | None = None
    offset_seconds: float = 0.0
