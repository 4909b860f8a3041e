"""Processor time and memory: exact shares of known clocks, and readings of the real machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.collectors.cpu import CpuProbe, CpuTimes, Shares, _caveats

BEFORE = CpuTimes(now=10, process=100, harness=1, busy=1000, stolen=5, waited=50)
QUIET = Shares(process=100, system=50, other=0, stolen=0, pressure=0)


def test_shares_are_of_the_elapsed_time_and_of_all_cores() -> None:
    after = CpuTimes(now=12, process=103, harness=1.1, busy=1005.1, stolen=5.4, waited=51)
    shares = after.shares_since(BEFORE, cores=4)
    assert shares.process == 150.0
    assert shares.system == pytest.approx(100 * 5.1 / 8)
    assert shares.other == pytest.approx(100 * 2.0 / 8)
    assert shares.stolen == pytest.approx(100 * 0.4 / 8)
    assert shares.pressure == 50.0


def test_pressure_that_is_not_counted_has_no_share() -> None:
    after = replace(BEFORE, now=11, waited=None)
    assert after.shares_since(BEFORE, cores=1).pressure is None


@given(process=st.floats(0, 100), harness=st.floats(0, 1), busy=st.floats(0, 100))
def test_other_load_is_never_negative(process: float, harness: float, busy: float) -> None:
    after = CpuTimes(12, 100 + process, 1 + harness, 1000 + busy, 5, 50)
    assert after.shares_since(BEFORE, cores=2).other >= 0


def kinds(shares: Shares, held: float | None = None) -> list[str]:
    return [caveat.kind for caveat in _caveats(shares, held)]


def test_a_quiet_machine_has_no_caveat() -> None:
    assert kinds(QUIET._replace(other=10.0, stolen=5.0), held=1.0) == []


def test_other_programs_above_a_tenth_of_the_machine_are_a_caveat() -> None:
    (caveat,) = _caveats(QUIET._replace(other=10.6), None)
    assert caveat.kind == "other-load"
    assert caveat.message.startswith("Other programs used 11 % of the machine's CPU time")
    assert "stop other programs" in caveat.remedy


def test_steal_by_the_host_is_a_caveat() -> None:
    assert kinds(QUIET._replace(stolen=5.1)) == ["cpu-stolen"]


def test_a_quota_that_throttled_the_run_is_a_caveat() -> None:
    assert kinds(QUIET, held=1.1) == ["cpu-quota"]


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """A /proc with this process and pressure, and a /sys with clocks."""
    process = tmp_path / f"proc/{os.getpid()}"
    (process / "task/1").mkdir(parents=True)
    (process / "task/1/status").write_text("nonvoluntary_ctxt_switches:\t5\n")
    (process / "status").write_text("VmHWM:\t2048 kB\n")
    (process / "cgroup").write_text("")
    (tmp_path / "proc/pressure").mkdir()
    (tmp_path / "proc/pressure/cpu").write_text("some avg10=0.00 total=1000000\n")
    clocks = tmp_path / "sys/devices/system/cpu/cpufreq/policy0"
    clocks.mkdir(parents=True)
    (clocks / "scaling_cur_freq").write_text("2800000\n")
    return tmp_path / "proc", tmp_path / "sys"


def readings(probe: CpuProbe) -> dict[str, float | None]:
    time.sleep(0.02)
    return {q.name: value for q, value in zip(probe.quantities(), probe.read(), strict=True)}


def test_clocks_and_pressure_are_read_where_the_kernel_exposes_them(
    machine: tuple[Path, Path],
) -> None:
    probe = CpuProbe(os.getpid(), *machine)
    probe.begin()
    (machine[0] / "pressure/cpu").write_text("some avg10=0.00 total=1000000\n")
    values = readings(probe)
    assert values["cpu_frequency_hertz"] == 2.8e9
    assert values["cpu_pressure_percent"] == 0.0


def test_what_the_kernel_does_not_expose_has_the_reason(
    machine: tuple[Path, Path], tmp_path: Path
) -> None:
    (machine[0] / "pressure/cpu").unlink()
    probe = CpuProbe(os.getpid(), machine[0], tmp_path / "nowhere")
    probe.begin()
    reasons = {quantity.name: quantity.unavailable for quantity in probe.quantities()}
    assert (
        reasons["cpu_frequency_hertz"]
        == "the kernel reports no clock frequencies (cpufreq) on this machine"
    )
    assert "cpu cannot be read: No such file or directory" in str(reasons["cpu_pressure_percent"])
    values = readings(probe)
    assert (values["cpu_frequency_hertz"], values["cpu_pressure_percent"]) == (None, None)


def test_facts_cover_the_whole_window(machine: tuple[Path, Path]) -> None:
    probe = CpuProbe(os.getpid(), *machine)
    probe.begin()
    (machine[0] / f"{os.getpid()}/task/1/status").write_text("nonvoluntary_ctxt_switches:\t8\n")
    time.sleep(0.02)
    facts = probe.conclude().facts
    assert facts["rss_peak_bytes"] == 2048 * 1024
    assert facts["involuntary_switches"] == 3
    assert facts["quota_held_percent"] is None


def test_a_peak_that_cannot_be_reset_counts_from_the_start_of_the_process(
    machine: tuple[Path, Path],
) -> None:
    (machine[0] / f"{os.getpid()}/clear_refs").mkdir()  # cannot be written, even by root
    probe = CpuProbe(os.getpid(), *machine)
    probe.begin()
    time.sleep(0.02)
    assert probe.conclude().facts["rss_peak_since"] == "start of the process"


def test_the_memory_of_the_tree_contains_that_of_the_process(machine: tuple[Path, Path]) -> None:
    probe = CpuProbe(os.getpid(), *machine)
    probe.begin()
    values = readings(probe)
    assert values["tree_rss_bytes"] is not None
    assert values["process_rss_bytes"] is not None
    assert values["tree_rss_bytes"] >= values["process_rss_bytes"] > 0
    assert values["harness_rss_bytes"] is None
    reasons = {quantity.name: quantity.unavailable for quantity in probe.quantities()}
    assert reasons["harness_rss_bytes"] == "the measuring process is the process under test"


def test_the_memory_of_the_measuring_process_is_apart_from_what_it_measures(
    machine: tuple[Path, Path],
) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        shutil.copytree(machine[0] / str(os.getpid()), machine[0] / str(child.pid))
        probe = CpuProbe(child.pid, *machine, harness_pid=os.getpid())
        probe.begin()
        values = readings(probe)
        child.communicate(b"\n")
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    own = sum(process.memory_info().rss for process in family)
    assert values["harness_rss_bytes"] == pytest.approx(own, rel=0.2)
