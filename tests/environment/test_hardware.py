"""Processors, memory and containers as the kernel tells of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.environment import hardware
from llmbench.errors import Unavailable

ReadAll = Callable[[dict[str, Callable[[], Any]]], tuple[dict[str, Any], dict[str, str]]]

CPUINFO = """\
processor\t: 0
model name\t: Simulated CPU @ 2.80GHz
physical id\t: {first}
flags\t\t: fpu sse2 {flags}

processor\t: 1
model name\t: Simulated CPU @ 2.80GHz
physical id\t: {second}
flags\t\t: fpu sse2 {flags}
"""


def test_the_processor_is_read_from_the_kernel(
    read_all: ReadAll, tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("proc/cpuinfo", CPUINFO.format(first=0, second=1, flags="hypervisor"))
    put("sys/devices/system/node/online", "0-1\n")
    put("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    put("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n")
    put("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n")
    put("sys/devices/system/cpu/smt/active", "1\n")
    values, reasons = read_all(hardware.cpu_readers(tmp_path))
    assert reasons == {}
    assert values["model"] == "Simulated CPU @ 2.80GHz"
    assert (values["sockets"], values["numa_nodes"]) == (2, 2)
    assert values["governor"] == "performance, powersave"
    assert (values["turbo"], values["smt"]) == (False, True)
    assert hardware.is_virtual(tmp_path)


def test_turbo_is_read_elsewhere_for_other_vendors(
    read_all: ReadAll, tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("sys/devices/system/cpu/cpufreq/boost", "1\n")
    values, _ = read_all(hardware.cpu_readers(tmp_path))
    assert values["turbo"] is True


def test_a_virtual_machine_that_hides_clocks_says_so(read_all: ReadAll, tmp_path: Path) -> None:
    values, reasons = read_all(hardware.cpu_readers(tmp_path))
    assert (values["governor"], values["turbo"]) == (None, None)
    assert "as in most virtual machines" in reasons["it.governor"]


def test_a_processor_of_another_architecture_has_reasons_instead(
    read_all: ReadAll, tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n")
    values, reasons = read_all(hardware.cpu_readers(tmp_path))
    assert (values["model"], values["sockets"]) == (None, None)
    assert reasons["it.model"] == "/proc/cpuinfo has no model name"
    with pytest.raises(Unavailable, match="has no flags"):
        hardware.is_virtual(tmp_path)


def test_the_choice_of_huge_pages_is_the_one_in_brackets(
    read_all: ReadAll, tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    values, _ = read_all(hardware.memory_readers(tmp_path))
    assert values["transparent_hugepages"] == "madvise"


@given(st.sets(st.integers(0, 300), min_size=1))
def test_a_kernel_list_is_counted_whatever_its_ranges(cpus: set[int]) -> None:
    singles = ",".join(str(cpu) for cpu in sorted(cpus))
    assert hardware.cpu_range(singles) == len(cpus)
    assert hardware.cpu_range(ranges(sorted(cpus))) == len(cpus)


def ranges(numbers: list[int]) -> str:
    """Write numbers as the kernel does: 0-3,8."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


@pytest.mark.parametrize(
    ("mark", "membership", "kind"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        ("other", "0::/kubepods.slice/pod1", "kubepods"),
        ("other", "0::/lxc/one", "lxc"),
    ],
)
def test_a_container_is_recognized_by_its_files(
    tmp_path: Path, put: Callable[[str, str], None], mark: str, membership: str, kind: str
) -> None:
    put(mark, "")
    assert hardware.container_kind(tmp_path, membership) == kind


def test_a_machine_without_them_is_no_container(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no sign of a container"):
        hardware.container_kind(tmp_path, "0::/user.slice")
