"""Processor energy that the kernel counts (RAPL), from the texts of the powercap tree.

Formats: the kernel's Documentation/power/powercap/powercap.rst and drivers/powercap/intel_rapl_*.c,
which serve AMD's processors too.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from llmbench.environment.probing import read_text
from llmbench.errors import Forbidden, Unavailable

POWERCAP = Path("/sys/class/powercap")
ZONE = re.compile(r"intel-rapl(:\d+){1,2}")  # not intel-rapl-mmio: the same counters once more
MIRROR_ROUNDS = 3
# More than any package draws (the largest are rated 500 W). The limit that a zone states is one of
# averages, which it exceeds for seconds, and is 0 or absent on many; so it counts only above this.
MAX_POWER_WATTS = 1000.0
SLACK_SECONDS = 1.0  # between a reading and its stamp, and between a counter's own updates
STUCK_SECONDS = 2.0  # counters are updated about every millisecond, and idle packages draw power

ELSEWHERE = "measure on the machine itself where this is a virtual one, or attach a wall meter"
MASKED = "container runtimes hide these files: measure outside the container"
ROOT_ONLY = (
    "since the fix of CVE-2020-8694 the kernel lets only root read it: run llmbench as a user "
    "who may, or ask who runs this machine"
)


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter of energy, e.g. ``package-0`` or ``dram-0``, and the folder it lies in.

    Its microjoules begin anew at ``max_energy_range_uj``. It never draws more than
    ``max_power_watts``. ``unavailable`` is the reason why it cannot be read here, or None.
    """

    name: str
    path: Path
    max_energy_range_uj: int
    max_power_watts: float = MAX_POWER_WATTS
    unavailable: str | None = None

    def microjoules(self) -> int:
        """Read the counter. Raises Unavailable where it cannot be read."""
        return _energy(self.path)


@dataclass(frozen=True, slots=True)
class Zones:
    """The counters of a machine: of its packages (processors), and of memory beside them.

    What packages draw for cores and graphics is in theirs; ``psys`` overlaps with them and is not
    read. ``mirrors`` says in words what was left out since it shows another zone's counter.
    ``unavailable`` is the reason why there are none at all, or None.
    """

    packages: tuple[Zone, ...] = ()
    drams: tuple[Zone, ...] = ()
    mirrors: tuple[str, ...] = ()
    unavailable: str | None = None


# -- finding ---------------------------------------------------------------------------------------


def zones(root: Path = POWERCAP) -> Zones:
    """Find the counters under a powercap tree, packages in the order of the kernel's numbers.

    Nothing is raised: where there are none, or one cannot be read, the reason is kept.
    """
    try:
        named = _names(root)
        packages, mirrored = _distinct(_packages(root, named))
        drams, also_mirrored = _distinct(_drams(root, named))
    except Unavailable as why:
        return Zones(unavailable=str(why))
    return Zones(packages, drams, (*mirrored, *also_mirrored))


def _names(root: Path) -> dict[tuple[int, ...], str]:
    """Give the zones' names by their numbers: ``{(0,): "package-0", (0, 2): "dram"}``.

    Raises Unavailable when there is no package among them.
    """
    try:
        numbers = sorted(_numbers(path) for path in root.iterdir() if ZONE.fullmatch(path.name))
    except OSError as error:
        raise Unavailable(f"{root} cannot be read: {error.strerror}; {ELSEWHERE}") from None
    if not numbers:
        raise Unavailable(
            f"{root} has no intel-rapl zones: the kernel module intel_rapl_msr is not loaded, or "
            f"the processor has no such counters; {ELSEWHERE}"
        )
    named = {each: _name(_folder(root, each)) for each in numbers}
    if not any(_is_package(each, name) for each, name in named.items()):
        raise Unavailable(f"{root} has no zone of a package, only {', '.join(named.values())}")
    return named


def _numbers(path: Path) -> tuple[int, ...]:
    return tuple(map(int, path.name.split(":")[1:]))


def _folder(root: Path, numbers: tuple[int, ...]) -> Path:
    return root / ":".join(("intel-rapl", *map(str, numbers)))


def _name(folder: Path) -> str:
    try:
        return read_text(folder / "name")
    except Unavailable as why:
        raise Unavailable(f"{why}; {MASKED}") from None


def _is_package(numbers: tuple[int, ...], name: str) -> bool:
    return len(numbers) == 1 and name.startswith("package-")


def _packages(root: Path, named: dict[tuple[int, ...], str]) -> list[Zone]:
    return [
        _zone(_folder(root, numbers), name)
        for numbers, name in named.items()
        if _is_package(numbers, name)
    ]


def _drams(root: Path, named: dict[tuple[int, ...], str]) -> list[Zone]:
    """Give the memory counters, each named after its package: ``dram-0`` lies in ``package-0``."""
    inside = {n: named.get(n[:1], "") for n, name in named.items() if name == "dram"}
    return [
        _zone(_folder(root, numbers), package.replace("package", "dram", 1))
        for numbers, package in inside.items()
        if _is_package(numbers[:1], package)
    ]


def _zone(folder: Path, name: str) -> Zone:
    energy_range = _count(folder / "max_energy_range_uj")
    return Zone(name, folder, energy_range, _max_power(folder), _why_unreadable(folder))


def _why_unreadable(folder: Path) -> str | None:
    try:
        _energy(folder)
    except Unavailable as why:
        return str(why)
    return None


def _max_power(folder: Path) -> float:
    try:
        told = _count(folder / "constraint_0_max_power_uw") / 1e6
    except Unavailable:  # many zones state none
        return MAX_POWER_WATTS
    return max(told, MAX_POWER_WATTS)


def _energy(folder: Path) -> int:
    try:
        return _count(folder / "energy_uj")
    except Forbidden as why:
        raise Unavailable(f"{why}; {ROOT_ONLY}") from None


def _count(path: Path) -> int:
    text = read_text(path)
    if not text.isdecimal():
        raise Unavailable(f"{path} holds {text!r}; expected a whole number")
    return int(text)


# -- mirrors ---------------------------------------------------------------------------------------


def _distinct(found: Iterable[Zone]) -> tuple[tuple[Zone, ...], list[str]]:
    """Leave out zones that show the counter of an earlier one, and say which.

    The dies of some processors (Zen and Zen 2, e.g. Threadripper 1950X) each show the counter of
    the whole socket, and their sum is a multiple of the truth
    (https://github.com/mlco2/codecarbon/issues/1274).
    """
    kept: list[Zone] = []
    said: list[str] = []
    for zone in found:
        original = next((each for each in kept if _mirrors(each, zone)), None)
        if original is None:
            kept.append(zone)
        else:
            said.append(f"{zone.name} shows the same counter as {original.name} and is left out")
    return tuple(kept), said


def _mirrors(original: Zone, zone: Zone) -> bool:
    """Tell whether a zone, each time, reads between two readings of another just around it.

    Counters of 32 bits that are not the same do so about never. Two that both stand at 0 do not
    count at all, so nothing is known of them.
    """
    if original.unavailable or zone.unavailable:
        return False
    rounds = [(original.microjoules(), zone.microjoules(), original.microjoules())
              for _ in range(MIRROR_ROUNDS)]  # fmt: skip
    return all(0 < before <= between <= after for before, between, after in rounds)


# -- reading ---------------------------------------------------------------------------------------


class EnergyCounter:
    """Joules that a zone has counted since ``begin``, through any number of wraps.

    (A wrap is short by the one step of the counter, tens of microjoules, from its end to 0.)
    A zone that cannot be trusted any more stays ``invalid`` with the reason and reads None, never
    0: its file cannot be read, it went back further than a wrap explains, it stands still, or two
    readings lie so far apart that it may have wrapped twice between them. Read it more often than
    range / greatest power; the usual 262 kJ and 1000 W make that four minutes.
    """

    def __init__(self, zone: Zone, now: Callable[[], float] = time.monotonic) -> None:
        self._zone = zone
        self._now = now
        self.invalid = zone.unavailable

    def begin(self) -> None:
        """Count from here on."""
        self._total = 0
        self._guard(self._start)

    def read(self) -> float | None:
        """Give the joules since the beginning, or None and leave the reason in ``invalid``."""
        self._guard(self._advance)
        return None if self.invalid else self._total / 1e6

    def _guard(self, step: Callable[[], None]) -> None:
        if self.invalid:
            return
        try:
            step()
        except Unavailable as why:
            self.invalid = str(why)

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
                "wrapped twice meanwhile"
            )
        added = (count - self._last) % energy_range
        if count < self._last and added > (elapsed + SLACK_SECONDS) * most:
            raise Unavailable(
                f"the counter of {self._zone.name} went back from {self._last} to {count} µJ, which"
                " is no wrap: the machine slept, or the driver was loaded anew"
            )
        return added
