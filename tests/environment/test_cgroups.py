"""What control groups of both versions allow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.environment import cgroups
from llmbench.errors import Unavailable


def cpu_limit(root: Path, membership: str = "0::/\n") -> float:
    return cgroups.cpu_limit(cgroups.groups("cpu", root, membership))


def memory_limit(root: Path, membership: str = "0::/\n") -> int:
    return cgroups.memory_limit(cgroups.groups("memory", root, membership))


@pytest.mark.parametrize(("text", "cores"), [("200000 100000", 2.0), ("50000 100000", 0.5)])
def test_the_quota_of_a_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None], text: str, cores: float
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("cpu.max", text)
    assert cpu_limit(tmp_path) == cores


def test_the_tightest_quota_of_all_parent_groups_applies(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("slice/cpu.max", "150000 100000")
    put("slice/job/cpu.max", "400000 100000")
    put("slice/job/inner/cpu.max", "max 100000")
    assert cpu_limit(tmp_path, "0::/slice/job/inner\n") == 1.5


def test_a_group_that_lies_outside_the_container_is_that_of_its_root(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("cpu.max", "300000 100000")
    assert cpu_limit(tmp_path, "0::/docker/0123abcd\n") == 3.0
    assert cpu_limit(tmp_path, "0::/../../elsewhere\n") == 3.0


def test_the_quota_of_an_older_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("cpu/job/cpu.cfs_quota_us", "150000\n")
    put("cpu/job/cpu.cfs_period_us", "100000\n")
    assert cpu_limit(tmp_path, "4:cpu,cpuacct:/job\n0::/\n") == 1.5


@pytest.mark.parametrize(
    ("name", "text"), [("cpu.max", "max 100000"), ("cpu/cpu.cfs_quota_us", "-1")]
)
def test_no_quota_is_a_reason(
    tmp_path: Path, put: Callable[[str, str], None], name: str, text: str
) -> None:
    put(name, text)
    put("cpu/cpu.cfs_period_us", "100000")
    if name == "cpu.max":
        put("cgroup.controllers", "cpu")
    with pytest.raises(Unavailable, match="no limit is set"):
        cpu_limit(tmp_path)


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no limit is set"):
        cpu_limit(tmp_path)
    with pytest.raises(Unavailable, match="no limit is set"):
        memory_limit(tmp_path)


@pytest.mark.parametrize(("text", "size"), [("4294967296", 2**32), ("1024", 1024)])
def test_the_memory_limit_of_a_container_is_read(
    tmp_path: Path, put: Callable[[str, str], None], text: str, size: int
) -> None:
    put("cgroup.controllers", "cpu memory")
    put("memory.max", text)
    assert memory_limit(tmp_path) == size


def test_an_older_kernels_huge_memory_limit_is_none(
    tmp_path: Path, put: Callable[[str, str], None]
) -> None:
    put("memory/memory.limit_in_bytes", "9223372036854771712\n")
    put("memory/job/memory.limit_in_bytes", "1048576\n")
    assert memory_limit(tmp_path, "4:memory:/job\n") == 2**20
    with pytest.raises(Unavailable, match="no limit is set"):
        memory_limit(tmp_path, "4:memory:/\n")


@given(
    st.dictionaries(
        st.sampled_from(["cpu", "cpuacct", "memory", "pids"]),
        st.from_regex(r"(/[a-z0-9:.-]{1,8}){1,3}", fullmatch=True),
    )
)
def test_memberships_are_read_whatever_the_groups_names(groups: dict[str, str]) -> None:
    text = "\n".join(f"{i}:{name}:{group}" for i, (name, group) in enumerate(groups.items()))
    assert cgroups.memberships(text) == groups
