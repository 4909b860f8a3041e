"""The quantities that NVML reports for a device.

Sources: nvml.h and the NVML API Reference Guide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmbench.environment.nvml import THROTTLE_REASONS

OF_CARD = "NVML reports it for whole GPUs only, and this is a MIG instance"


@dataclass(frozen=True, slots=True)
class Reading:
    """A device quantity and the NVML call that reads it.

    ``of_card`` marks quantities of the whole GPU, which NVML does not report for a MIG instance.
    """

    name: str
    unit: str
    ask: Callable[[Any, Any], float]
    of_card: bool = False


def _watts(field: str) -> Callable[[Any, Any], float]:
    return lambda nvml, handle: field_value(nvml, handle, getattr(nvml, field)) / 1e3


def _hertz(clock: str) -> Callable[[Any, Any], float]:
    return lambda nvml, handle: nvml.nvmlDeviceGetClockInfo(handle, getattr(nvml, clock)) * 1e6


def _celsius(nvml: Any, handle: Any) -> float:
    return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


# Power is read from fields with a fixed meaning: nvmlDeviceGetPowerUsage is a one-second average on
# some GPUs (Ampere and newer, except GA100) and instantaneous on others.
READINGS = (
    Reading("busy_percent", "% of time", lambda n, h: n.nvmlDeviceGetUtilizationRates(h).gpu),
    Reading("memory_used_bytes", "B", lambda n, h: n.nvmlDeviceGetMemoryInfo(h).used),
    Reading("power_average_watts", "W", _watts("NVML_FI_DEV_POWER_AVERAGE"), of_card=True),
    Reading("power_instant_watts", "W", _watts("NVML_FI_DEV_POWER_INSTANT"), of_card=True),
    Reading("sm_clock_hertz", "Hz", _hertz("NVML_CLOCK_SM")),
    Reading("memory_clock_hertz", "Hz", _hertz("NVML_CLOCK_MEM")),
    Reading("temperature_celsius", "°C", _celsius),
    Reading("throttle_reasons", "bits", lambda n, h: n.nvmlDeviceGetCurrentClocksEventReasons(h)),
)

# Fields that count the nanoseconds for which a limit throttled the clocks. Hardware slowdown and
# power brake have counters too, but under field ids that differ between drivers (251 to 253 with
# 580, 269 to 271 in later headers) and may mean power smoothing there. The mask covers both.
LIMITS = {
    "power": "NVML_FI_DEV_PERF_POLICY_POWER",
    "thermal": "NVML_FI_DEV_PERF_POLICY_THERMAL",
    "sync_boost": "NVML_FI_DEV_PERF_POLICY_SYNC_BOOST",
    "board": "NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT",
}

POWER_LIMITS = frozenset({"power", "board"})  # reached by the load itself, at any temperature

# The union member of each value type (nvmlValueType_t). Older bindings have no others, and the
# fields read here need none.
MEMBERS = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal")


def field_value(nvml: Any, handle: Any, field: int) -> float:
    """Return the value of an NVML field; raise NVMLError if its own return code is an error."""
    (result,) = nvml.nvmlDeviceGetFieldValues(handle, [field])
    if result.nvmlReturn != nvml.NVML_SUCCESS:
        raise nvml.NVMLError(result.nvmlReturn)
    return float(getattr(result.value, MEMBERS[result.valueType]))


def limit_seconds(nvml: Any, handle: Any) -> dict[str, float | None]:
    """Return the seconds for which each limit has throttled the clocks; None if unavailable."""
    return {limit: _counted_seconds(nvml, handle, name) for limit, name in LIMITS.items()}


def _counted_seconds(nvml: Any, handle: Any, name: str) -> float | None:
    try:
        return field_value(nvml, handle, getattr(nvml, name)) / 1e9
    except nvml.NVMLError:
        return None


def differences(
    begin: Mapping[str, float | None], end: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Return each counter's increase; None if a value is missing or the counter was reset."""
    return {name: _difference(begin.get(name), late) for name, late in end.items()}


def _difference(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None or end < begin else end - begin


def reason_shares(masks: Counter[int]) -> dict[str, float]:
    """Return the fraction of readings with each throttle reason, omitting those without any."""
    counts = {
        name: sum(n for mask, n in masks.items() if mask & bit)
        for bit, name in THROTTLE_REASONS.items()
    }
    return {name: count / masks.total() for name, count in counts.items() if count}


def count_others(listed: frozenset[int], own: frozenset[int], exists: Callable[[int], bool]) -> int:
    """Return the number of other processes on a GPU.

    In a container, NVML may list the host's process ids. If none of ours is listed, one listed id
    that does not exist in the container counts as ours.
    """
    foreign = listed - own
    is_disguised = not listed & own and any(not exists(pid) for pid in foreign)
    return len(foreign) - is_disguised
