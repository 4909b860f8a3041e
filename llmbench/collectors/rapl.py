"""RAPL energy counters of CPUs and their memory, from the kernel's powercap tree.

Sources: the kernel's Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_*.c,
which also support AMD CPUs.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llmbench.environment.probing import read_text, why_unavailable
from llmbench.errors import Forbidden, Unavailable

POWERCAP = Path("/sys/class/powercap")
ZONE = re.compile(r"intel-rapl(:\d+){1,2}")  # not intel-rapl-mmio, which repeats the same counters
MIRROR_ROUNDS = 3
# More than any package draws (the largest are rated 500 W). A zone's own limit applies to averages,
# can be exceeded for seconds, and is often 0 or absent; so it is used only if it is greater.
MAX_POWER_WATTS = 1000.0
SLACK_SECONDS = 1.0  # slack for the time stamp of a reading and the update period of a counter
STUCK_SECONDS = 2.0  # counters update about every millisecond, even on an idle package

ELSEWHERE = "on a virtual machine, measure on the host or attach a wall meter"
MASKED = "container runtimes hide these files; measure outside the container"
ROOT_ONLY = (
    "only root can read it since the fix for CVE-2020-8694; run llmbench as a user with access, "
    "or ask the administrator"
)


@dataclass(frozen=True, slots=True)
class Zone:
    """An energy counter, e.g. ``package-0`` or ``dram-0``, and its folder.

    Its microjoules wrap at ``max_energy_range_uj``; its power never exceeds ``max_power_watts``.
    ``unavailable`` is the reason why it cannot be read on this machine, or None.
    """

    name: str
    path: Path
    max_energy_range_uj: int
    max_power_watts: float = MAX_POWER_WATTS
    unavailable: str | None = None

    def microjoules(self) -> int:
        """Return the counter in microjoules; raise Unavailable if it cannot be read."""
        return _energy(self.path)


@dataclass(frozen=True, slots=True)
class Zones:
    """The energy counters of a machine's CPU packages and memory.

    A package's counter includes its cores and graphics; ``psys`` overlaps with packages and is not
    read. ``mirrors`` describes omitted zones, which repeat another zone's counter. ``unavailable``
    is the reason why there are none, or None.
    """

    packages: tuple[Zone, ...] = ()
    drams: tuple[Zone, ...] = ()
    mirrors: tuple[str, ...] = ()
    unavailable: str | None = None


# -- finding ---------------------------------------------------------------------------------------


def zones(root: Path = POWERCAP) -> Zones:
    """Return the energy counters in a powercap tree, packages in the kernel's order.

    Never raises: an absent tree or unreadable counter is reported as a reason.
    """
    try:
        names = _names(root)
        packages, mirrors = _distinct(_packages(root, names))
        drams, dram_mirrors = _distinct(_drams(root, names))
    except Unavailable as reason:
        return Zones(unavailable=str(reason))
    return Zones(packages, drams, (*mirrors, *dram_mirrors))


def _names(root: Path) -> dict[tuple[int, ...], str]:
    """Return the zones' names by number: ``{(0,): "package-0", (0, 2): "dram"}``.

    Raise Unavailable if there is no package zone.
    """
    try:
        numbers = sorted(_numbers(path) for path in root.iterdir() if ZONE.fullmatch(path.name))
    except OSError as error:
        raise Unavailable(f"{root} cannot be read: {error.strerror}; {ELSEWHERE}") from None
    if not numbers:
        raise Unavailable(
            f"{root} has no intel-rapl zones: the kernel module intel_rapl_msr is not loaded, or "
            f"the CPU has no RAPL counters; {ELSEWHERE}"
        )
    names = {zone: _name(_folder(root, zone)) for zone in numbers}
    if not any(_is_package(zone, name) for zone, name in names.items()):
        raise Unavailable(f"{root} has no package zone, only {', '.join(names.values())}")
    return names


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(map(int, path.name.split(":")[1:]))


def _folder(root: Path, numbers: tuple[int, ...]) -> Path:
    return root / ":".join(("intel-rapl", *map(str, numbers)))


def _name(folder: Path) -> str:
    try:
        return read_text(folder / "name")
    except Unavailable as reason:
        raise Unavailable(f"{reason}; {MASKED}") from None


def _is_package(numbers: tuple[int, ...], name: str) -> bool:
    return len(numbers) == 1 and name.startswith("package-")


def _packages(root: Path, names: dict[tuple[int, ...], str]) -> list[Zone]:
    return [
        _zone(_folder(root, numbers), name)
        for numbers, name in names.items()
        if _is_package(numbers, name)
    ]


def _drams(root: Path, names: dict[tuple[int, ...], str]) -> list[Zone]:
    """Return the memory counters, named after their packages: ``dram-0`` is in ``package-0``."""
    packages = {n: names.get(n[:1], "") for n, name in names.items() if name == "dram"}
    return [
        _zone(_folder(root, numbers), package.replace("package", "dram", 1))
        for numbers, package in packages.items()
        if _is_package(numbers[:1], package)
    ]


def _zone(folder: Path, name: str) -> Zone:
    energy_range = _count(folder / "max_energy_range_uj")
    unavailable = why_unavailable(lambda: _energy(folder))
    return Zone(name, folder, energy_range, _max_power(folder), unavailable)


def _max_power(folder: Path) -> float:
    try:
        limit = _count(folder / "constraint_0_max_power_uw") / 1e6
    except Unavailable:  # many zones have no limit
        return MAX_POWER_WATTS
    return max(limit, MAX_POWER_WATTS)


def _energy(folder: Path) -> int:
    try:
        return _count(folder / "energy_uj")
    except Forbidden as reason:
        raise Unavailable(f"{reason}; {ROOT_ONLY}") from None


def _count(path: Path) -> int:
    text = read_text(path)
    if not text.isdecimal():
        raise Unavailable(f"{path} holds {text!r}; expected a whole number")
    return int(text)


# -- mirrors ---------------------------------------------------------------------------------------


def _distinct(zones: Iterable[Zone]) -> tuple[tuple[Zone, ...], list[str]]:
    """Return the zones with independent counters, and a description of each other zone.

    On some CPUs (Zen and Zen 2, e.g. Threadripper 1950X) every die reports the counter of the whole
    socket, so their sum is a multiple of the energy
    (https://github.com/mlco2/codecarbon/issues/1274).
    """
    distinct: list[Zone] = []
    mirrors: list[str] = []
    for zone in zones:
        original = next((other for other in distinct if _mirrors(other, zone)), None)
        if original is None:
            distinct.append(zone)
        else:
            mirrors.append(f"{zone.name} shows the same counter as {original.name} and is left out")
    return tuple(distinct), mirrors


def _mirrors(original: Zone, zone: Zone) -> bool:
    """Return whether a zone's readings always lie between adjacent readings of the other zone.

    Independent 32-bit counters almost never do. Counters that stay 0 prove nothing.
    """
    if original.unavailable or zone.unavailable:
        return False
    rounds = [(original.microjoules(), zone.microjoules(), original.microjoules())
              for _ in range(MIRROR_ROUNDS)]  # fmt: skip
    return all(0 < before <= between <= after for before, between, after in rounds)


# -- reading ---------------------------------------------------------------------------------------


class EnergyCounter:
    """The joules of a zone since ``begin``, across any number of wraparounds.

    A wraparound loses one step of the counter, tens of microjoules. The counter becomes ``invalid``
    with a reason, and reads None, never 0, if its file is unreadable, it decreases by more than a
    wraparound explains, it stalls, or two readings are so far apart that it may have wrapped twice.
    So the longest allowed interval between readings is range / maximum power: four minutes for
    the usual 262 kJ and 1000 W.
    """

    def __init__(self, zone: Zone, now: Callable[[], float] = time.monotonic) -> None:
        self._zone = zone
        self._now = now
        self.invalid = zone.unavailable

    def begin(self) -> None:
        """Start counting joules from the counter's current value."""
        self._total = 0
        self._guard(self._start)

    def read(self) -> float | None:
        """Return the joules since ``begin``, or None, with the reason in ``invalid``."""
        self._guard(self._advance)
        return None if self.invalid else self._total / 1e6

    def _guard(self, step: Callable[[], None]) -> None:
        if self.invalid:
            return
        try:
            step()
        except Unavailable as reason:
            self.invalid = str(reason)

    def _start(self) -> None:
        self._last, self._moment = self._zone.microjoules(), self._now()
        self._moved = self._moment

    def _advance(self) -> None:
        count, moment = self._zone.microjoules(), self._now()
        added = self._increment(count, moment - self._moment)
        if added:
            self._moved = moment
        elif moment - self._moved > STUCK_SECONDS:
            raise Unavailable(
                f"the counter of {self._zone.name} has not moved for {STUCK_SECONDS:g} s"
            )
        self._total += added
        self._last, self._moment = count, moment

    def _increment(self, count: int, elapsed: float) -> int:
        """Return the microjoules since the last reading, or raise Unavailable."""
        energy_range, most = self._zone.max_energy_range_uj, self._zone.max_power_watts * 1e6
        if elapsed * most >= energy_range:
            raise Unavailable(
                f"the counter of {self._zone.name} was not read for {elapsed:.0f} s and may have "
                "wrapped twice"
            )
        added = (count - self._last) % energy_range
        if count < self._last and added > (elapsed + SLACK_SECONDS) * most:
            raise Unavailable(
                f"the counter of {self._zone.name} decreased from {self._last} to {count} µJ, which"
                " is not a wraparound: the machine was suspended or the driver reloaded"
            )
        return added
