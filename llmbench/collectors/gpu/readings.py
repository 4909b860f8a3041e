"""What NVML is asked of a device, and how its answers are to be read.

Names and bits: nvml.h and the NVML API Reference Guide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

OF_CARD = "it belongs to the whole card, and this is one MIG instance of it"


@dataclass(frozen=True, slots=True)
class Reading:
    """One quantity of a device: its name and unit, and how NVML is asked for it.

    ``of_card`` marks what a MIG instance shares with its card and cannot claim for itself.
    """

    name: str
    unit: str
    ask: Callable[[Any, Any], float]
    of_card: bool = False


# Power by its fields, whose meaning is fixed: nvmlDeviceGetPowerUsage is an average over a second
# on some cards (Ampere and newer, but for GA100) and of the instant on the others.
READINGS = (
    Reading("busy_percent", "% of time", lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu),
    Reading("memory_used_bytes", "B", lambda n, h: n.nvmlDeviceGetMemoryInfo(h).used),
    Reading(
        "power_average_watts",
        "W",
        lambda n, h: field_value(n, h, n.NVML_FI_DEV_POWER_AVERAGE) / 1e3,
        of_card=True,
    ),
    Reading(
        "power_instant_watts",
        "W",
        lambda n, h: field_value(n, h, n.NVML_FI_DEV_POWER_INSTANT) / 1e3,
        of_card=True,
    ),
    Reading(
        "sm_clock_hertz", "Hz", lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM) * 1e6
    ),
    Reading(
        "memory_clock_hertz", "Hz", lambda n, h: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM) * 1e6
    ),
    Reading(
        "temperature_celsius",
        "°C",
        lambda n, h: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
    ),
    Reading("throttle_reasons", "bits", lambda n, h: n.nvmlDeviceGetCurrentClocksEventReasons(h)),
)

# Counters of the nanoseconds for which a limit held the clocks down. Hardware slowdown and power
# brake have counters too, but their numbers differ between drivers (251 to 253 with 580, 269 to
# 271 in later headers) and mean settings of power smoothing elsewhere; the mask tells of those.
LIMITS = {
    "power": "NVML_FI_DEV_PERF_POLICY_POWER",
    "thermal": "NVML_FI_DEV_PERF_POLICY_THERMAL",
    "sync_boost": "NVML_FI_DEV_PERF_POLICY_SYNC_BOOST",
    "board": "NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT",
}

# Bits of the reasons mask that mean throttling: an idle GPU (1) or clocks set by somebody (2, 256)
# are no slowdown.
REASONS = {
    0x04: "power",
    0x08: "hardware_slowdown",
    0x10: "sync_boost",
    0x20: "software_thermal",
    0x40: "hardware_thermal",
    0x80: "power_brake",
}

# Which member of NVML's union holds a value of which type (nvmlValueType_t); older bindings know
# no others, and no field that is asked for has one.
MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal")


def field_value(nvml: Any, handle: Any, field: int) -> float:
    """Ask for one field value; each has a return code of its own. Raises NVMLError."""
    (found,) = nvml.nvmlDeviceGetFieldValues(handle, [field])
    if found.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(found.nvmlReturn)
    return float(getattr(found.value, MEMBERS[found.valueType]))


def limit_seconds(nvml: Any, handle: Any) -> dict[str, float | None]:
    """Read for how long each limit has held the clocks down; None where it is not told."""
    return {limit: _counted_seconds(nvml, handle, name) for limit, name in LIMITS.items()}


def _counted_seconds(nvml: Any, handle: Any, name: str) -> float | None:
    try:
        return field_value(nvml, handle, getattr(nvml, name)) / 1e9
    except nvml.NVMLError:
        return None


def differences(
    begin: Mapping[str, float | None], end: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Subtract counters; None where one is missing or went back, as on a driver reload."""
    return {name: _difference(begin.get(name), late) for name, late in end.items()}


def _difference(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None or end < begin else end - begin


def reason_shares(masks: Counter[int]) -> dict[str, float]:
    """Give, for each reason for throttling that was seen, the share of readings that had it."""
    total = masks.total()
    seen = {
        name: sum(n for mask, n in masks.items() if mask & bit) for bit, name in REASONS.items()
    }
    return {name: count / total for name, count in seen.items() if count}


def others(listed: frozenset[int], own: frozenset[int], here: Callable[[int], bool]) -> int:
    """Count the processes on a GPU that are not ours.

    Inside a container NVML may list ids of outside it. So where none of ours is listed, one id
    that nobody has ``here`` is taken for ours.
    """
    strangers = listed - own
    disguised = not listed & own and any(not here(pid) for pid in strangers)
    return len(strangers) - disguised
