"""A stand-in for NVIDIA's driver library, built from C, for the real nvidia-ml-py.

The fixture ``standin`` (tests/conftest.py) builds one and loads it into ``pynvml``::

    def test_the_counter_follows_the_power(standin: MakeStandin) -> None:
        gpu = StandinGpu(curve=[(0, 60), (1, 400)], counter_period=0.1, lag=0.0, gain=1.0)
        driver = standin(devices=[gpu], missing=("nvmlDeviceGetPowerUsage",))
        nvml = open_nvml()                        # llmbench.environment.nvml
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        before = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        driver.advance(2.0)                       # virtual time, which begins at 0
        spent = nvml.nvmlDeviceGetTotalEnergyConsumption(handle) - before
        assert spent / 1e3 == driver.true_joules(0, 0.0, 2.0) == 460

Time is virtual and moves with ``advance`` only; pass ``clock=driver.time`` and
``sleep=driver.advance`` to code that waits. ``driver.follow_clock()`` switches to real time, from
0. To change a card later, set its attributes and call ``driver.apply()``; handles stay valid.

Other processes use it through the variables of ``driver.environment()``. Their curves begin at that
call, on CLOCK_MONOTONIC: second 0 is ``driver.origin`` on the clock of ``time.monotonic()``.

    with_standin = {**os.environ, **driver.environment()}
    subprocess.run([sys.executable, "-c", "import pynvml; pynvml.nvmlInit()"], env=with_standin)

From a shell, to run what reads a card without having one, or to measure the cost of reading:

    env $(python tests/standin.py build/standin) python benchmarks/engine_overhead.py
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

__all__ = [
    "SONAME",
    "Library",
    "MakeStandin",
    "Standin",
    "StandinGpu",
    "StandinInstance",
    "compiler",
]

SOURCES = Path(__file__).parent / "standin_nvml"
SONAME = "libnvidia-ml.so.1"

GPU_IS_LOST = 15
HOPPER_ACTIVITY = {2: 100.0, 5: 50.0, 10: 80.0, 20: 2048.0, 21: 1024.0}
ALWAYS = -math.inf
NEVER = math.inf

# NVML's types of field values.
VALUE_TYPES = ("double", "unsigned", "ulong", "ulonglong", "longlong", "int")


@dataclass
class StandinInstance:
    """A MIG instance of a card, by its index ``slot`` and NVML's id ``gpu_instance``.

    ``activity`` and ``faults`` are as for a card.
    """

    uuid: str
    slot: int = 2
    gpu_instance: int = 1
    name: str = "NVIDIA Stand-in MIG 1g.10gb"
    activity: Mapping[int, float] = field(default_factory=lambda: dict(HOPPER_ACTIVITY))
    faults: Mapping[str, int | tuple[int, float]] = field(default_factory=dict)
    pids: Sequence[int] = ()
    memory_total_bytes: float = 10 * 2**30
    memory_used_bytes: float = 2**30


@dataclass
class StandinGpu:
    """A card. Times are seconds; those of ``curve`` and of ``*_at`` and ``*_from`` are absolute.

    ``curve``: (second, watts), each until the next; the first also applies before it.
    Energy counter: ``gain`` times the integral of the curve, delayed by ``lag``, updated every
    ``counter_period`` (0: always), restarted at ``reset_at``.
    Instant power: the curve, with ``instant_period`` and ``instant_lag``. Power usage (and the
    field POWER_AVERAGE): mean of the curve over the previous second.
    While the curve is above ``cap_watts``, the power throttle counter grows and its reason is set;
    ``reasons`` are further bits. ``field_values``: other fields, id to (one of VALUE_TYPES, value).
    ``activity``: GPM metrics, id to value at the cap; scaled by mean power over the cap.
    ``faults``: function, ``"field 186"`` or ``"*"`` to NVML's error code, or (code, from second).
    ``lost_from``: when the card falls off the bus. ``mig``: split; ``instances`` are its instances.
    """

    curve: Sequence[tuple[float, float]] = ((0.0, 60.0),)
    uuid: str = "GPU-aaaa-1"
    name: str = "NVIDIA Stand-in"
    counter_period: float = 0.0
    lag: float = 0.0
    gain: float = 1.0
    reset_at: float | None = None
    lost_from: float | None = None
    counter_start_joules: float = 5000.0
    instant_period: float = 0.0
    instant_lag: float = 0.0
    cap_watts: float = 700.0
    busy_percent: float = 87
    memory_total_bytes: float = 80 * 2**30
    memory_used_bytes: float = 2**30
    sm_clock_hertz: float = 1.98e9
    memory_clock_hertz: float = 2.619e9
    temperature_celsius: float = 61
    reasons: int = 0
    persistence: bool = True
    ecc: bool = True
    mig: bool = False
    virtualization: int = 0
    gpm_supported: bool = True
    bus: int = 1
    pids: Sequence[int] = ()
    field_values: Mapping[int, tuple[str, float]] = field(default_factory=dict)
    activity: Mapping[int, float] = field(default_factory=lambda: dict(HOPPER_ACTIVITY))
    faults: Mapping[str, int | tuple[int, float]] = field(default_factory=dict)
    instances: Sequence[StandinInstance] = ()

    def joules(self, until: float) -> float:
        """Return the integral of the curve from second 0."""
        begins = [-math.inf, *(at for at, _ in self.curve[1:])]
        ends = [*begins[1:], math.inf]
        return sum(
            watts * (min(max(until, begin), end) - min(max(0.0, begin), end))
            for (_, watts), begin, end in zip(self.curve, begins, ends, strict=True)
        )


class Library:
    """Compiles the stand-in, once per set of missing functions."""

    def __init__(self, cc: str, folder: Path) -> None:
        self._cc = cc
        self._folder = folder

    def without(self, missing: Sequence[str]) -> Path:
        """Return the folder of a library without these functions, like those of older drivers."""
        hidden = "".join(f"{name}; " for name in sorted(missing))
        folder = self._folder / hashlib.sha256(hidden.encode()).hexdigest()[:8]
        if not folder.exists():
            folder.mkdir()
            script = folder / "hidden.map"
            script.write_text(f"{{ local: {hidden or 'nothing;'} }};\n")
            self._compile(folder / SONAME, script)
        return folder

    def _compile(self, library: Path, script: Path) -> None:
        options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(library)]
        linking = f"-Wl,-soname,{SONAME},--version-script={script}"
        source = str(SOURCES / "nvml.c")
        subprocess.run([self._cc, *options, linking, source, "-lm"], check=True)


def compiler() -> str | None:
    """Return a C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


@dataclass
class Standin:
    """A driver with these cards; see the module's docstring."""

    folder: Path  # of the library
    config: Path
    devices: Sequence[StandinGpu]
    driver: str = "580.65.06"
    init_code: int = 0
    origin: float = 0.0
    _now: float = 0.0

    def __post_init__(self) -> None:
        self.loaded = ctypes.CDLL(str(self.folder / SONAME))
        self.loaded.standin_set_now.argtypes = [ctypes.c_double]
        self.apply()
        self.advance(0.0)

    def apply(self) -> None:
        """Apply changes of the devices."""
        self.config.write_text("\n".join(self._lines()) + "\n")
        code = self.loaded.standin_load(str(self.config).encode())
        if code:
            raise RuntimeError(f"the stand-in cannot read {self.config}: {code}")

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Advance virtual time."""
        self._now += seconds
        self.loaded.standin_set_now(self._now)

    def follow_clock(self) -> None:
        """Switch this process to real time, from second 0."""
        self.origin = time.monotonic()
        self.apply()
        self.loaded.standin_set_now(math.nan)

    def environment(self) -> dict[str, str]:
        """Return the variables by which other processes use this driver; their second 0 is now."""
        self.origin = time.monotonic()
        self.apply()
        before = os.environ.get("LD_LIBRARY_PATH")
        folders = os.pathsep.join([str(self.folder), *([before] if before else [])])
        return {"LD_LIBRARY_PATH": folders, "STANDIN_NVML": str(self.config)}

    def true_joules(self, device: int, begin: float, end: float) -> float:
        """Return the energy of a card between two seconds of its curve."""
        return self.devices[device].joules(end) - self.devices[device].joules(begin)

    @property
    def open_samples(self) -> int:
        """The number of GPM samples that were allocated and not freed."""
        return int(self.loaded.standin_open_samples())

    def _lines(self) -> Iterator[str]:
        yield f"driver {self.driver}"
        yield f"init {self.init_code}"
        yield f"origin {self.origin!r}"
        for card in self.devices:
            yield from _card_lines(card)


def main() -> None:
    """Build the stand-in in a folder and print the variables by which processes use it."""
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    cc = compiler()
    if cc is None:
        raise SystemExit("the stand-in needs a C compiler (cc, gcc or clang)")
    card = StandinGpu(counter_period=0.1)
    made = Standin(Library(cc, folder).without(()), folder / "nvml.txt", [card])
    variables = (f"{name}={value}" for name, value in made.environment().items())
    sys.stdout.write(" ".join(variables) + "\n")


MakeStandin = Callable[..., Standin]

# Names in the configuration file that differ from the attributes'.
IN_FILE = {"lag": "counter_lag", "gain": "counter_gain"}
NOT_NUMBERS = {
    "curve", "uuid", "name", "slot", "gpu_instance", "reset_at", "lost_from", "pids",
    "field_values", "activity", "faults", "instances",
}  # fmt: skip


def _card_lines(card: StandinGpu) -> Iterator[str]:
    yield f"gpu {card.uuid}"
    yield from (f"piece {float(at)!r} {float(watts)!r}" for at, watts in card.curve)
    yield f"counter_reset_at {NEVER if card.reset_at is None else card.reset_at}"
    if card.lost_from is not None:
        yield f"fault {GPU_IS_LOST} {card.lost_from} *"
    for number, (kind, value) in card.field_values.items():
        yield f"field {number} {VALUE_TYPES.index(kind)} {value!r}"
    yield from _common_lines(card)
    for instance in card.instances:
        yield f"instance {instance.uuid} {instance.slot} {instance.gpu_instance}"
        yield from _common_lines(instance)


def _common_lines(device: StandinGpu | StandinInstance) -> Iterator[str]:
    yield f"name {device.name}"
    for name in (attribute.name for attribute in fields(device)):
        if name not in NOT_NUMBERS:
            yield f"{IN_FILE.get(name, name)} {float(getattr(device, name))!r}"
    for what, fault in device.faults.items():
        code, since = fault if isinstance(fault, tuple) else (fault, ALWAYS)
        yield f"fault {code} {since} {what}"
    yield from (f"activity {number} {value!r}" for number, value in device.activity.items())
    yield from (f"pid {pid}" for pid in device.pids)


if __name__ == "__main__":
    main()
