"""Energy counters of processors, from a powercap tree made for the test."""

from __future__ import annotations

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench.collectors.rapl import MAX_POWER_WATTS, EnergyCounter, Zone, zones
from llmbench.loads.clock import VirtualClock

RANGE = 262_143_328_850
MICROJOULES_PER_SECOND = MAX_POWER_WATTS * 1e6


def make_zone(root: Path, path: str, name: str, energy: int = 1000, **files: int) -> Path:
    folder = root / path
    folder.mkdir(parents=True)
    contents = {"name": name, "energy_uj": energy, "max_energy_range_uj": RANGE, **files}
    for file, value in contents.items():
        (folder / file).write_text(f"{value}\n")
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """Two packages with memory, and other zones that a tree may have."""
    make_zone(tmp_path, "intel-rapl", "not a zone")
    make_zone(tmp_path, "intel-rapl:0", "package-0", 11)
    make_zone(tmp_path, "intel-rapl:0:0", "core", 12)
    make_zone(tmp_path, "intel-rapl:0:1", "uncore", 13)
    make_zone(tmp_path, "intel-rapl:0:2", "dram", 14)
    make_zone(tmp_path, "intel-rapl:10", "package-1", 15)
    make_zone(tmp_path, "intel-rapl:10:0", "dram", 16)
    make_zone(tmp_path, "intel-rapl:2", "psys", 17)
    make_zone(tmp_path, "intel-rapl:2:0", "dram", 18)
    make_zone(tmp_path, "intel-rapl-mmio:0", "package-0", 19)
    return tmp_path


# -- finding ---------------------------------------------------------------------------------------


def test_packages_are_found_in_the_order_of_their_numbers(server: Path) -> None:
    all_zones = zones(server)
    assert [zone.name for zone in all_zones.packages] == ["package-0", "package-1"]
    assert [zone.microjoules() for zone in all_zones.packages] == [11, 15]
    assert [zone.max_energy_range_uj for zone in all_zones.packages] == [RANGE, RANGE]
    assert all_zones.unavailable is None


def test_memory_is_separate_and_named_after_its_package(server: Path) -> None:
    drams = zones(server).drams
    assert [(zone.name, zone.microjoules()) for zone in drams] == [("dram-0", 14), ("dram-1", 16)]


def test_a_platform_zone_is_no_package(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:0", "psys")
    all_zones = zones(tmp_path)
    assert (all_zones.packages, all_zones.drams) == ((), ())
    assert all_zones.unavailable == f"{tmp_path} has no package zone, only psys"


def test_a_die_is_a_package_of_its_own_and_so_is_its_memory(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:1", "package-0-die-1")
    make_zone(tmp_path, "intel-rapl:1:0", "dram")
    all_zones = zones(tmp_path)
    assert [zone.name for zone in all_zones.packages] == ["package-0-die-1"]
    assert [zone.name for zone in all_zones.drams] == ["dram-0-die-1"]


def test_a_zones_power_limit_counts_where_it_is_greater_than_the_default(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0", 1, constraint_0_max_power_uw=0)
    make_zone(tmp_path, "intel-rapl:1", "package-1", 2, constraint_0_max_power_uw=2_000_000_000)
    make_zone(tmp_path, "intel-rapl:2", "package-2", 3)
    assert [zone.max_power_watts for zone in zones(tmp_path).packages] == [1000.0, 2000.0, 1000.0]


# -- no counters ---------------------------------------------------------------------------------


def test_a_machine_without_the_tree_has_the_reason(tmp_path: Path) -> None:
    reason = str(zones(tmp_path / "powercap").unavailable)
    assert reason.startswith(f"{tmp_path}/powercap cannot be read: No such file or directory; ")
    assert "attach a wall meter" in reason


def test_a_tree_without_rapl_mentions_the_module(tmp_path: Path) -> None:
    make_zone(tmp_path, "dtpm:0", "soc")
    reason = str(zones(tmp_path).unavailable)
    assert "has no intel-rapl zones: the kernel module intel_rapl_msr is not loaded" in reason


def test_files_hidden_by_a_container_have_that_reason(server: Path) -> None:
    (server / "intel-rapl:0" / "name").unlink()
    reason = str(zones(server).unavailable)
    assert (
        "intel-rapl:0/name cannot be read: No such file or directory; container runtimes" in reason
    )


def test_a_counter_that_only_root_can_read_mentions_its_file_and_the_cause(
    server: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def guarded(path: Path, *arguments: Any, **named: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied")
        return read(path, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", guarded)
    reason = str(zones(server).packages[0].unavailable)
    assert reason.startswith(f"{server}/intel-rapl:0/energy_uj cannot be read: Permission denied; ")
    assert "CVE-2020-8694" in reason
    assert "run llmbench as a user with access" in reason


def test_a_counter_that_cannot_be_read_does_not_hide_the_others(server: Path) -> None:
    (server / "intel-rapl:0" / "energy_uj").unlink()
    (server / "intel-rapl:0" / "energy_uj").mkdir()  # cannot be read, even by root
    first, second = zones(server).packages
    assert str(first.unavailable).endswith("energy_uj cannot be read: Is a directory")
    assert second.unavailable is None


def test_a_counter_without_a_number_is_unavailable(server: Path) -> None:
    (server / "intel-rapl:0" / "energy_uj").write_text("none\n")
    reason = zones(server).packages[0].unavailable
    assert str(reason).endswith("energy_uj holds 'none'; expected a whole number")


def test_an_unavailable_zone_reads_none_with_its_reason(server: Path) -> None:
    (server / "intel-rapl:0" / "energy_uj").write_text("none\n")
    counter = EnergyCounter(zones(server).packages[0])
    counter.begin()
    assert counter.read() is None
    assert str(counter.invalid).endswith("expected a whole number")


# -- mirrors ---------------------------------------------------------------------------------------


def test_dies_that_show_one_counter_count_once_with_a_note(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0-die-0", 5000)
    make_zone(tmp_path, "intel-rapl:1", "package-0-die-1", 5000)
    make_zone(tmp_path, "intel-rapl:2", "package-1-die-0", 7000)
    all_zones = zones(tmp_path)
    assert [zone.name for zone in all_zones.packages] == ["package-0-die-0", "package-1-die-0"]
    assert all_zones.mirrors == (
        "package-0-die-1 shows the same counter as package-0-die-0 and is left out",
    )


def test_one_counter_that_advances_between_readings_is_still_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0-die-0")
    make_zone(tmp_path, "intel-rapl:1", "package-0-die-1")
    moving = count(5000)
    monkeypatch.setattr(Zone, "microjoules", lambda _: next(moving))
    assert len(zones(tmp_path).packages) == 1


def test_counters_that_agree_once_are_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0")
    make_zone(tmp_path, "intel-rapl:1", "package-1")
    seen = iter([5, 5, 5, 6, 8, 7, 8, 10, 9])
    monkeypatch.setattr(Zone, "microjoules", lambda _: next(seen))
    assert len(zones(tmp_path).packages) == 2


def test_counters_that_both_stay_zero_are_different(tmp_path: Path) -> None:
    make_zone(tmp_path, "intel-rapl:0", "package-0", 0)
    make_zone(tmp_path, "intel-rapl:1", "package-1", 0)
    assert len(zones(tmp_path).packages) == 2


def test_a_zone_that_cannot_be_read_is_no_mirror(server: Path) -> None:
    (server / "intel-rapl:0" / "energy_uj").write_text("none\n")
    assert len(zones(server).packages) == 2


# -- reading ---------------------------------------------------------------------------------------


class Machine:
    """A package with energy and time set by a test."""

    def __init__(self, root: Path, energy: int = 1000) -> None:
        self.clock = VirtualClock()
        self.file = make_zone(root, "intel-rapl:0", "package-0", energy) / "energy_uj"
        (zone,) = zones(root).packages
        self.counter = EnergyCounter(zone, self.clock.now)
        self.counter.begin()

    def read_after(self, seconds: float, energy: int) -> float | None:
        self.clock.advance(seconds)
        self.file.write_text(f"{energy}\n")
        return self.counter.read()


def test_a_counter_reads_joules_since_the_beginning(tmp_path: Path) -> None:
    machine = Machine(tmp_path, energy=7_000_000)
    assert machine.read_after(0.1, 9_500_000) == 2.5
    assert machine.read_after(0.1, 9_500_001) == 2.500001


def test_beginning_again_counts_from_there(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.read_after(0.1, 5_000_000)
    machine.counter.begin()
    assert machine.read_after(0.1, 6_000_000) == 1.0


def test_a_counter_continues_after_a_wrap(tmp_path: Path) -> None:
    machine = Machine(tmp_path, energy=RANGE - 2_000_000)
    assert machine.read_after(0.1, 1_000_000) == 3.0
    assert machine.read_after(0.1, 2_000_000) == 4.0


def test_a_counter_that_may_have_wrapped_twice_is_invalid(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert machine.read_after(RANGE / MICROJOULES_PER_SECOND, 2_000_000) is None
    assert machine.counter.invalid == (
        "the counter of package-0 was not read for 262 s and may have wrapped twice"
    )


def test_a_counter_that_goes_back_without_a_wrap_is_invalid(tmp_path: Path) -> None:
    machine = Machine(tmp_path, energy=9_000_000)
    assert machine.read_after(0.1, 3_000_000) is None
    assert "decreased from 9000000 to 3000000 µJ" in str(machine.counter.invalid)


def test_a_counter_that_stands_still_is_invalid_and_not_zero(tmp_path: Path) -> None:
    machine = Machine(tmp_path, energy=0)
    assert machine.read_after(2.0, 0) == 0.0
    assert machine.read_after(0.1, 0) is None
    assert machine.counter.invalid == "the counter of package-0 has not moved for 2 s"


def test_what_became_invalid_stays_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.read_after(300.0, 2_000_000)
    assert machine.read_after(0.1, 3_000_000) is None


def test_a_file_that_disappears_makes_its_counter_invalid(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.unlink()
    assert machine.counter.read() is None
    assert str(machine.counter.invalid).endswith(
        "energy_uj cannot be read: No such file or directory"
    )


def test_a_file_that_cannot_be_read_any_more_makes_its_counter_invalid(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.file.unlink()
    machine.file.mkdir()
    assert machine.counter.read() is None
    assert str(machine.counter.invalid).endswith("energy_uj cannot be read: Is a directory")


@settings(deadline=None)  # it writes a file a reading
@given(begin=st.integers(0, RANGE - 1), increments=st.lists(st.integers(0, RANGE - 1), max_size=12))
def test_any_increments_below_the_range_are_recovered_through_wraps(
    begin: int, increments: list[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder), begin)
        total = 0
        for increment in increments:
            total += increment
            at_full_power = increment / MICROJOULES_PER_SECOND
            read = machine.read_after(at_full_power, (begin + total) % RANGE)
            assert read == total / 1e6
