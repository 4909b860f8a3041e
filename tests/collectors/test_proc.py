"""Processes, pressure and quotas from recorded texts of the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.collectors.proc import (
    FREQUENCY_FILES,
    Tree,
    field_number,
    frequency_files,
    involuntary_switches,
    mean_frequency,
    pressure_seconds,
    quota_throttled_seconds,
)

STATUS = """\
Name:\tpython
VmPeak:\t  412345 kB
VmHWM:\t   51200 kB
Threads:\t3
voluntary_ctxt_switches:\t77
nonvoluntary_ctxt_switches:\t{switches}
"""
PRESSURE = "some avg10=32.06 avg60=28.28 avg300=38.19 total=1319279891\nfull avg10=0.00 total=5\n"


def test_a_field_is_found_by_its_whole_name() -> None:
    assert field_number(STATUS.format(switches=9), "VmHWM") == 51200
    assert field_number(STATUS.format(switches=9), "nonvoluntary_ctxt_switches") == 9


def test_a_missing_field_is_none() -> None:
    assert field_number(STATUS, "VmSwap") is None
    assert field_number("", "VmHWM") is None


@given(
    st.dictionaries(st.from_regex(r"[A-Za-z_]{1,12}", fullmatch=True), st.integers(0, 2**63)),
    st.sampled_from([":\t", " ", ":   "]),
)
def test_every_field_of_a_text_is_found(fields: dict[str, int], between: str) -> None:
    text = "\n".join(f"{name}{between}{number} kB" for name, number in fields.items())
    assert {name: field_number(text, name) for name in fields} == fields


def test_pressure_is_the_total_of_some_in_seconds() -> None:
    assert pressure_seconds(PRESSURE) == 1319.279891


def test_pressure_in_another_format_is_an_error_with_the_text() -> None:
    with pytest.raises(ValueError, match="expected a line 'some"):
        pressure_seconds("nothing\n")


def test_switches_are_summed_over_threads(tmp_path: Path) -> None:
    for thread, switches in ((1, 5), (2, 7)):
        (tmp_path / f"task/{thread}").mkdir(parents=True)
        (tmp_path / f"task/{thread}/status").write_text(STATUS.format(switches=switches))
    assert involuntary_switches(tmp_path) == 12


def test_clocks_are_averaged_in_hertz(tmp_path: Path) -> None:
    for policy, kilohertz in ((0, 2_000_000), (1, 3_000_000)):
        (tmp_path / f"policy{policy}").mkdir()
        (tmp_path / f"policy{policy}/scaling_cur_freq").write_text(f"{kilohertz}\n")
    assert mean_frequency(frequency_files(tmp_path)) == 2.5e9


def test_of_many_clocks_only_a_few_are_read(tmp_path: Path) -> None:
    for policy in range(100):
        (tmp_path / f"policy{policy}").mkdir()
        (tmp_path / f"policy{policy}/scaling_cur_freq").write_text("1\n")
    assert len(frequency_files(tmp_path)) == FREQUENCY_FILES


def test_the_quota_of_a_group_counts_microseconds_in_version_2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "job").mkdir()
    (tmp_path / "job/cpu.stat").write_text("nr_periods 9\nnr_throttled 3\nthrottled_usec 1500000\n")
    assert quota_throttled_seconds("0::/job\n", tmp_path) == 1.5


def test_the_quota_of_a_group_counts_nanoseconds_in_version_1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.stat").write_text("nr_throttled 3\nthrottled_time 2500000000\n")
    assert quota_throttled_seconds("3:cpu,cpuacct:/\n", tmp_path) == 2.5


def test_without_control_groups_no_quota_is_counted(tmp_path: Path) -> None:
    assert quota_throttled_seconds("", tmp_path) is None


def test_a_tree_counts_descendants_that_ended() -> None:
    tree = Tree(os.getpid())
    before = tree.cpu_seconds(time.monotonic())
    spin = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    assert tree.cpu_seconds(time.monotonic()) - before >= 0.3


def test_a_tree_leaves_the_sampler_out() -> None:
    parent = Tree(os.getppid())
    assert os.getpid() not in parent.pids(time.monotonic())


def test_a_tree_is_listed_at_most_once_per_second() -> None:
    tree = Tree(os.getpid())
    now = time.monotonic()
    before = tree.pids(now)
    assert os.getpid() in before
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert tree.pids(now + 0.9) == before
        assert child.pid in tree.pids(now + 60)


def test_a_tree_that_takes_long_to_list_is_listed_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = iter([0.0, 0.05, 1.0, 1.0])  # fifty milliseconds, of which one in two hundred is 10 s
    monkeypatch.setattr(time, "thread_time", lambda: next(slow))
    tree = Tree(os.getpid())
    tree.pids(0.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid not in tree.pids(9.9)
        assert child.pid in tree.pids(10.1)


def test_a_tree_without_its_root_is_an_error() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tree = Tree(child.pid)
    with pytest.raises(psutil.NoSuchProcess):
        tree.cpu_seconds(time.monotonic())
