"""Words that the sentences of a report share."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmbench.runs.series import Series

MAX_NAMED = 4  # cases or points; a sentence counts more of them
PAIR = 2
SERIES = {
    "process_cpu_percent": "CPU, this process",
    "system_cpu_percent": "CPU, all programs",
    "other_cpu_percent": "CPU, other programs",
    "stolen_cpu_percent": "CPU, stolen by the hypervisor",
    "cpu_pressure_percent": "CPU pressure",
    "cpu_frequency_hertz": "CPU clock",
    "process_rss_bytes": "memory, this process",
    "tree_rss_bytes": "memory, this process and its children",
    "harness_rss_bytes": "memory, the processes that measure",
    "busy_percent": "busy time",
    "memory_used_bytes": "memory in use",
    "power_average_watts": "power, average",
    "power_instant_watts": "power, instantaneous",
    "sm_clock_hertz": "SM clock",
    "sm_active_percent": "active SMs",
    "tensor_active_percent": "active time of tensor cores",
    "dram_active_percent": "memory bandwidth in use",
    "pcie_rx_bytes_per_second": "PCIe, received",
    "pcie_tx_bytes_per_second": "PCIe, sent",
    "server_running": "running requests, by the server",
    "server_waiting": "waiting requests, by the server",
    "server_kv_cache_percent": "KV cache in use, by the server",
    "server_prefix_cache_hit_percent": "prefix cache hits, by the server",
    "server_preemptions": "preemptions, by the server",
    "server_draft_acceptance_percent": "draft acceptance, by the server",
    "engine_prefill_percent": "engine time in prefill",
    "engine_decode_percent": "engine time in decode",
    "engine_idle_percent": "idle time of the engine",
    "server_reading_seconds": "time to read the server's metrics",
}
UNIT_SUFFIX = re.compile(r"_(percent|bytes|hertz|watts|joules|celsius|seconds)$")


def listed(parts: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def named(names: Sequence[str], kind: str = "cases") -> str:
    """Return the names, or their number and kind if they are more than MAX_NAMED."""
    return listed(names) if len(names) <= MAX_NAMED else f"{len(names):,} {kind}"


def capitalized(text: str) -> str:
    """Return the text with a capital as its first letter."""
    return text[:1].upper() + text[1:]


def none_of(number: int) -> str:
    """Return ``Neither case`` or ``None of the 5 cases``."""
    return "Neither case" if number == PAIR else f"None of the {number:,} cases"


def all_of(number: int) -> str:
    """Return ``Both cases`` or ``All 5 cases``."""
    return "Both cases" if number == PAIR else f"All {number:,} cases"


def series_label(series: Series) -> str:
    """Return the name of a series in words: ``GPU 0 power, average``."""
    if of_server := re.fullmatch(r"server(\d+)", series.device or ""):
        words = SERIES.get(f"server_{series.quantity}", series.quantity)
        return words.replace("the server", f"server {of_server[1]}")
    words = SERIES.get(series.quantity) or UNIT_SUFFIX.sub("", series.quantity).replace("_", " ")
    return f"{_device_label(series.device)} {words}" if series.device else words


def _device_label(device: str) -> str:
    spaced = device.replace("servergpu", "server gpu")
    words = re.sub(r"([a-z]+)(\d+)", r"\1 \2 ", spaced).strip()
    return re.sub(r"\b(gpu|mig|dram)\b", lambda found: found[0].upper(), words)
