"""Power and energy of a server's GPUs, from NVIDIA's DCGM exporter or from Triton."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from llmbench.collectors.base import Quantity
from llmbench.collectors.server.exposition import Sample
from llmbench.collectors.server.presets import Mapped, Source
from llmbench.collectors.server.quantities import chosen

POWER, ENERGY = "gpu_power", "gpu_energy"
MODEL_LABELS, UUID_LABELS = ("modelName",), ("UUID", "gpu_uuid")
MOST_GPUS, LABEL_LENGTH = 64, 100
METHOD = "dcgm-counter"  # of Triton too, which reads DCGM


class Gpus:
    """The GPUs of a server's first reading, with their power and energy.

    Energy has a value only in readings in which the counter changed. A series of several instances
    of one GPU counts once, since both quantities are those of the whole board. The names of devices
    begin with that of the ``server``.
    """

    def __init__(self, mapped: Mapped, samples: Sequence[Sample], server: str = "server") -> None:
        self._mapped = {name: mapped[name] for name in (POWER, ENERGY) if name in mapped}
        matching = [s for sources in self._mapped.values() for s in chosen(sources, samples)[1]]
        uuids = list(dict.fromkeys(filter(None, map(_uuid, matching))))[:MOST_GPUS]
        self._names = {uuid: f"{server}gpu{index}" for index, uuid in enumerate(uuids)}
        self._models = {uuid: _label(s, MODEL_LABELS) for s in matching if (uuid := _uuid(s))}
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def quantities(self) -> list[Quantity]:
        """Return the series, in the order of `take`."""
        names = self._names.values()
        return [
            *(Quantity(f"{name}_power_average_watts", "W") for name in names),
            *(Quantity(f"{name}_energy_joules", "J") for name in names),
        ]

    def take(self, samples: Sequence[Sample]) -> list[float | None]:
        """Return each GPU's power in watts, then its joules since the first reading."""
        power, energy = (self._by_uuid(name, samples) for name in (POWER, ENERGY))
        return [
            *(power.get(uuid) for uuid in self._names),
            *(self._rise(uuid, energy.get(uuid)) for uuid in self._names),
        ]

    def _by_uuid(self, name: str, samples: Iterable[Sample]) -> dict[str, float]:
        source, matching = chosen(self._mapped.get(name, [Source("")]), samples)
        values: dict[str, float] = {}
        for sample in matching:
            uuid, value = _uuid(sample), sample.value * source.scale
            if uuid in self._names and 0 <= value < math.inf:
                values[uuid] = max(value, values.get(uuid, 0.0))
        return values

    def _rise(self, uuid: str, joules: float | None) -> float | None:
        if joules is None:
            return None
        first = self._first.setdefault(uuid, joules)
        has_changed = self._last.get(uuid, joules) != joules
        self._last[uuid] = joules
        return joules - first if has_changed else None

    def facts(self, interval: float, failed: dict[str, int]) -> dict[str, Any]:
        """Return the method and the device of each GPU's energy, by the device of its series.

        ``failed`` has the failed readings by reason.
        """
        return {
            name: {
                "method": METHOD,
                "uuid": uuid,
                "device": self._models.get(uuid, ""),
                "unavailable": None if uuid in self._first else "the server counts no energy",
                "failed_readings": failed,
                "polled_seconds": interval,
            }
            for uuid, name in self._names.items()
        }


def _uuid(sample: Sample) -> str:
    return _label(sample, UUID_LABELS)


def _label(sample: Sample, names: Sequence[str]) -> str:
    labels = dict(sample.labels)
    text = next((labels[name] for name in names if name in labels), "")
    return text[:LABEL_LENGTH] if text.isprintable() else ""
