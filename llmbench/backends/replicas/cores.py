"""The CPU cores of each replica."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from llmbench.environment import usable_cores
from llmbench.errors import InputError
from llmbench.runs.caveats import Caveat
from llmbench.scenario.replicas import DeviceSet, ReplicasOptions

TOPOLOGY = ("physical_package_id", "core_id")


def core_sets(options: ReplicasOptions) -> list[tuple[int, ...]]:
    """Return the cores of each replica: those in `devices`, or a part of the usable ones."""
    available = by_topology(os.sched_getaffinity(0))
    sets = [devices for devices in options.devices or () if not isinstance(devices, str)]
    return sets or divided(available, options.size, usable_cores())


def check_cores(options: ReplicasOptions) -> None:
    """Raise InputError if a core in `devices` does not exist, or this process may not use it."""
    usable = os.sched_getaffinity(0)
    for cores in options.devices or ():
        if isinstance(cores, str) or not (missing := sorted(set(cores) - usable)):
            continue
        listed = ", ".join(map(str, sorted(usable)))
        raise InputError(
            f"replicas.devices: found core {missing[0]}, which this process cannot use; its cores "
            f"are {listed}"
        )


def divided(cores: Sequence[int], parts: int, usable: int) -> list[tuple[int, ...]]:
    """Return equal parts of cores; with more parts than cores, several have the same core.

    All parts together have at most the ``usable`` number of cores, which a quota may limit.
    """
    if parts > len(cores):
        return [(cores[part % len(cores)],) for part in range(parts)]
    size = max(1, min(usable, len(cores)) // parts)
    begins = (part * len(cores) // parts for part in range(parts))
    return [tuple(sorted(cores[begin : begin + size])) for begin in begins]


def by_topology(
    cores: Iterator[int] | set[int], folder: Path = Path("/sys/devices/system/cpu")
) -> list[int]:
    """Return cores so that the hardware threads of a core, and the cores of a socket, are next."""
    return sorted(cores, key=lambda core: (*_place(folder / f"cpu{core}" / "topology"), core))


def _place(topology: Path) -> list[int]:
    files = [topology / name for name in TOPOLOGY]
    return [int(file.read_text()) if file.exists() else 0 for file in files]


def shared_caveats(cores: Sequence[Sequence[int]], devices: Sequence[object]) -> Iterator[Caveat]:
    """Yield a caveat if several replicas have one GPU or, on CPUs, one core."""
    gpus = [str(device) for device in devices if str(device).startswith("cuda")]
    replicas = len(cores)
    if gpus:
        if len(set(gpus)) < len(gpus):
            yield Caveat("replicas-share", replicas=replicas, devices=f"{len(set(gpus))} GPU(s)")
    elif (count := len(set().union(*cores))) < replicas:
        yield Caveat("replicas-share", replicas=replicas, devices=f"{count} CPU core(s)")


def gpu_of(devices: Sequence[DeviceSet] | None, replica: int) -> str | None:
    """Return the GPU that `devices` gives a replica, if these are GPUs."""
    devices_of_replica = devices[replica] if devices else ()
    return devices_of_replica if isinstance(devices_of_replica, str) else None
