"""The options of replicas: how many there are, where they run, and which one gets a request."""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from llmbench import plugins
from llmbench.errors import shown

Policy = Literal["round-robin", "least-loaded", "two-choices", "affinity"]
DeviceSet = tuple[int, ...] | str

MAX_REPLICAS = 256
MAX_CORE = 65_535
GPU = re.compile(r"cuda:\d{1,4}")


def device_sets(given: Any) -> tuple[DeviceSet, ...] | None:
    """Return sets of devices: CPU cores in ascending order, or the names of GPUs; None for None.

    Raises ValueError if they are malformed, of both kinds, or overlap.
    """
    if given is None:
        return None
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_REPLICAS:
        raise ValueError(f"expected a list of 1 to {MAX_REPLICAS} device sets")
    sets = tuple(map(_device_set, given))
    if len(set(map(type, sets))) > 1:
        raise ValueError("expected only CPU cores, or only GPUs")
    named = chain.from_iterable(
        [devices] if isinstance(devices, str) else (f"core {core}" for core in devices)
        for devices in sets
    )
    device, count = Counter(named).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{device} is listed {count} times; give each replica devices of its own")
    return sets


def _device_set(given: Any) -> DeviceSet:
    if isinstance(given, str) and GPU.fullmatch(given):
        return given
    if isinstance(given, list | tuple) and given and all(map(_is_core, given)):
        return tuple(sorted(given))
    raise ValueError(
        f"expected sets of CPU cores such as [[0, 1], [2, 3]], or GPUs such as [cuda:0, cuda:1]; "
        f"{shown(given)} is neither"
    )


def _is_core(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MAX_CORE


class ReplicasOptions(plugins.Options):
    """``{count: 2, balance: affinity}``; ``2`` and ``[[0, 1], [2, 3]]`` are short forms."""

    count: int | None = Field(
        default=None,
        ge=1,
        le=MAX_REPLICAS,
        description="number of processes that each serve the backend; default: one per device set",
    )
    balance: Policy = Field(
        default="round-robin",
        description="which replica gets a request: each in turn, the one with the fewest requests"
        " in flight, the less loaded of two at random, or that of its session or prefix",
    )
    devices: Annotated[tuple[tuple[int, ...] | str, ...] | None, BeforeValidator(device_sets)] = (
        Field(
            default=None,
            description="the CPU cores of each replica, such as [[0, 1], [2, 3]], or its GPU, such"
            " as [cuda:0, cuda:1]; default: equal parts of the usable cores, and GPUs in turn",
        )
    )

    @model_validator(mode="before")
    @classmethod
    def _opened(cls, value: Any) -> Any:
        """Read a number as `count`, and a list as `devices`."""
        return {key: value} if (key := main_key(value)) else value

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        if self.count is None and self.devices is None:
            raise ValueError("expected `count` or `devices`; add `count: 2`")
        if self.count is not None and self.devices is not None and self.count != len(self.devices):
            raise ValueError(
                f"`count` is {self.count}, but `devices` has {len(self.devices)} sets; remove one"
            )
        return self

    @property
    def size(self) -> int:
        """The number of replicas."""
        return self.count or len(self.devices or ())


def main_key(value: Any) -> str | None:
    """Return the key that a short form of `replicas` is the value of; None for a long form."""
    if isinstance(value, int) and not isinstance(value, bool):
        return "count"
    return "devices" if isinstance(value, list) else None
