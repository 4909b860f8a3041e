"""Time series of measured quantities, as arrays and as a stored table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DEVICE = re.compile(r"((?:[a-z]+\d+)+|wall)_(.+)")
HEADS = b"series"
OLD_HEADS = b"attached.parquet"  # the metadata key up to version 0.1.0


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A time series of one quantity, such as ``gpu0_power_instant_watts``.

    ``times`` and ``values`` are float64 arrays of equal length. ``source`` is ``measured``,
    ``estimated:<model>`` or ``unavailable:<reason>``; an unavailable series has no values, never
    zeros.
    """

    name: str
    unit: str
    source: str
    times: Floats = field(default_factory=lambda: np.empty(0))
    values: Floats = field(default_factory=lambda: np.empty(0))

    @classmethod
    def measured(cls, name: str, unit: str, times: ArrayLike, values: ArrayLike) -> Self:
        """Return a series with the source ``measured``, from times and values of equal length."""
        return cls(name, unit, "measured", np.asarray(times, float), np.asarray(values, float))

    @classmethod
    def unavailable(cls, name: str, unit: str, reason: str) -> Self:
        """Return a series without values, with the reason why there are none."""
        return cls(name, unit, f"unavailable:{reason}")

    def __eq__(self, other: object) -> bool:
        """Compare names, units, sources and every reading."""
        return (
            isinstance(other, Series)
            and (self.name, self.unit, self.source) == (other.name, other.unit, other.source)
            and np.array_equal(self.times, other.times)
            and np.array_equal(self.values, other.values)
        )

    __hash__ = None  # type: ignore[assignment] # arrays have no hash

    @property
    def device(self) -> str | None:
        """The device (``gpu0``, ``package0``, ``dram0``, ``wall``), or None for the machine."""
        match = DEVICE.fullmatch(self.name)
        return match[1] if match else None

    @property
    def quantity(self) -> str:
        """The quantity: the name without the device, such as ``power_instant_watts``."""
        match = DEVICE.fullmatch(self.name)
        return match[2] if match else self.name

    @property
    def available(self) -> bool:
        """Whether the series has values."""
        return not self.source.startswith("unavailable:")

    @property
    def why_unavailable(self) -> str | None:
        """The reason why there are no values, or None."""
        return None if self.available else self.source.removeprefix("unavailable:")

    def since(self, origin: float) -> Self:
        """Return the series with times in seconds since ``origin``."""
        return replace(self, times=self.times - origin)


def heads(series: Sequence[Series]) -> list[dict[str, str]]:
    """Return the name, unit and source of each series as JSON-compatible data."""
    return [{"name": s.name, "unit": s.unit, "source": s.source} for s in series]


def series_table(series: Sequence[Series], **metadata: Any) -> pa.Table:
    """Return a table with one row per reading, with `heads` and ``metadata`` in its schema."""
    rows = np.repeat(np.arange(len(series), dtype=np.int32), [len(s.times) for s in series])
    names = pa.array([s.name for s in series], pa.string())
    columns = {
        "name": pa.DictionaryArray.from_arrays(pa.array(rows), names),
        "time": np.concatenate([np.empty(0), *(s.times for s in series)]),
        "value": np.concatenate([np.empty(0), *(s.values for s in series)]),
    }
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()}
    texts[HEADS.decode()] = json.dumps(heads(series), ensure_ascii=False)
    return pa.table(columns).replace_schema_metadata(texts)


def heads_of(table: pa.Table) -> Any:
    """Return the `heads` in a table's schema; raises ValueError if they are not valid JSON."""
    metadata = table.schema.metadata or {}
    return json.loads(metadata.get(HEADS) or metadata.get(OLD_HEADS) or b"null")


def read_series(
    table: pa.Table, stored_heads: Sequence[dict[str, str]] | None = None
) -> tuple[Series, ...]:
    """Return the series in a table; older tables lack their `heads`: pass ``stored_heads``."""
    import pyarrow.compute as pc  # noqa: PLC0415 (the sampler starts faster without it)

    if stored_heads is None:
        stored_heads = heads_of(table)
    names = pa.array([head["name"] for head in stored_heads], pa.string())
    index = pc.index_in(table["name"].cast(pa.string()), value_set=names).to_numpy()
    times, values = table["time"].to_numpy(), table["value"].to_numpy()
    return tuple(
        Series(**head, times=times[index == row], values=values[index == row])
        for row, head in enumerate(stored_heads)
    )
