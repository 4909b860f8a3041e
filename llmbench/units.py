"""Durations, sizes and rates: parsed from text with units, and formatted for display.

Internally every quantity is SI: seconds, bytes, events per second.
"""

from __future__ import annotations

import re
from math import floor, inf, isfinite, log10
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SerializationInfo, ValidationInfo

from llmbench.errors import shown

LARGEST = 1e18
MAX_TEXT = 100  # characters of a quantity
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_BYTES = {
    "B": 1,
    "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def _parse(value: object, units: dict[str, float], example: str) -> float:
    number, unit = _split(value, units, example)
    try:
        quantity = float(number) * units.get(unit, 1.0)
    except OverflowError:
        quantity = inf
    if not abs(quantity) < LARGEST:
        raise ValueError(f"expected a number below {LARGEST:g}")
    return quantity


def _split(value: object, units: dict[str, float], example: str) -> tuple[float | str, str]:
    """Return the number and the unit of a quantity, both as they are written."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, ""
    is_text = isinstance(value, str) and len(value) <= MAX_TEXT
    match = _QUANTITY.fullmatch(str(value)) if is_text else None
    if not match:
        raise ValueError(f"expected a number or text such as '{example}'")
    number, unit = match.groups()
    if unit and unit not in units:
        raise ValueError(f"unknown unit {shown(unit)}; known units: {', '.join(units)}")
    return number, unit


def parse_seconds(value: object) -> float:
    """Return a duration, ``0.5`` or ``"500 ms"``, in seconds; raises ValueError if invalid."""
    return _parse(value, _SECONDS, "500 ms")


def parse_bytes(value: object) -> int:
    """Return a size such as ``4096`` or ``"2 GiB"`` in bytes; raises ValueError if invalid."""
    return round(_parse(value, {k: float(v) for k, v in _BYTES.items()}, "2 GiB"))


def parse_rate(value: object) -> float:
    """Return a rate such as ``4`` or ``"240/min"`` in 1/s; raises ValueError if invalid."""
    return _parse(value, {f"/{unit}": 1 / seconds for unit, seconds in _SECONDS.items()}, "4/s")


UNITS = {"units": True}  # context that needs units of durations, and writes quantities with units


def _read_seconds(value: object, info: ValidationInfo) -> float:
    seconds = parse_seconds(value)
    number, unit = _split(value, _SECONDS, "500 ms")
    if info.context == UNITS and seconds > 0 and not unit:
        raise ValueError(f"a duration needs its unit; write {number} ms or {number} s")
    return seconds


def _written(units: dict[str, float]) -> PlainSerializer:
    def write(value: float, info: SerializationInfo) -> float | str:
        return _with_unit(value, units) if info.context == UNITS else value

    return PlainSerializer(write, return_type=int | float | str)


def _with_unit(value: float, units: dict[str, float]) -> str:
    """Return a value in SI units as text in the largest unit that fits: ``0.03`` is ``30 ms``."""
    fitting = [unit for unit in units if abs(value) >= units[unit]]
    unit = max(fitting, key=units.__getitem__, default=next(u for u in units if units[u] == 1))
    return f"{value / units[unit]:.6g} {unit}".replace(" /", "/")


def _schema(example: str, **more: Any) -> Any:
    return Field(json_schema_extra={"type": ["number", "string"], "examples": [example], **more})


_BINARY = {unit: float(size) for unit, size in _BYTES.items() if unit == "B" or "i" in unit}
_WITHOUT_UNIT = {"type": "number", "exclusiveMinimum": 0}
Seconds = Annotated[
    float,
    BeforeValidator(_read_seconds),
    _written(_SECONDS),
    _schema("500 ms", **{"not": _WITHOUT_UNIT}),
]
Bytes = Annotated[int, BeforeValidator(parse_bytes), _written(_BINARY), _schema("2 GiB")]
MAX_RATE = 1_000_000.0  # per second, far beyond what one machine can send
PerSecond = Annotated[float, BeforeValidator(parse_rate), _written({"/s": 1.0}), _schema("4/s")]


def format_number(value: float, digits: int = 3) -> str:
    """Return a number with at least ``digits`` significant digits and no exponent: ``0.500``.

    What is not finite is ``inf`` or ``nan``.
    """
    if value == 0:
        return "0"
    if not isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    return f"{value:,.{decimals}f}"


def scale_duration(seconds: float) -> tuple[str, str]:
    """Return a duration in seconds as a number and its unit: ``0.0213`` is ``21.3`` and ``ms``."""
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= size * (2 if size >= 60 else 1):  # noqa: PLR2004 (90 s reads better than 1.5 min)
            return format_number(seconds / size), unit
    return (format_number(seconds / 1e-9), "ns") if seconds else ("0", "s")


def scale(value: float, unit: str) -> tuple[str, str]:
    """Return a number and its unit with a metric prefix: ``12.3e9`` is ``12.3`` and ``GFLOP``."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return format_number(value / size), f"{prefix}{unit}"
    return format_number(value), unit


def scale_bytes(size: float) -> tuple[str, str]:
    """Return a size in bytes as a number and a binary unit: ``1536`` is ``1.50`` and ``KiB``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if abs(size) >= _BYTES[unit]:
            return format_number(size / _BYTES[unit]), unit
    return f"{size:,.0f}", "B"


def format_duration(seconds: float) -> str:
    """Return a duration in seconds as text in the unit that fits: ``0.0213`` is ``21.3 ms``."""
    return " ".join(scale_duration(seconds))


def format_scaled(value: float, unit: str) -> str:
    """Return a number with a metric prefix: ``12.3e9`` and ``FLOP`` is ``12.3 GFLOP``."""
    return " ".join(scale(value, unit))


def format_bytes(size: float) -> str:
    """Return a size in bytes as text in binary units: ``1536`` is ``1.50 KiB``."""
    return " ".join(scale_bytes(size))
