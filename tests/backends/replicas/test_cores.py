"""The CPU cores of each replica."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.backends.replicas.cores import (
    by_topology,
    check_cores,
    core_sets,
    divided,
    gpu_of,
    shared_caveats,
)
from llmbench.errors import InputError
from llmbench.scenario.replicas import ReplicasOptions


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 80))
def test_parts_are_equal_disjoint_and_within_the_quota(cores: int, parts: int, usable: int) -> None:
    sets = divided(range(cores), parts, usable)
    sizes = {len(part) for part in sets}
    assert len(sets) == parts
    assert len(sizes) == 1
    if parts <= cores:
        assert len(set().union(*sets)) == sum(map(len, sets))
    if parts <= min(usable, cores):
        assert sum(map(len, sets)) <= usable


def test_more_replicas_than_cores_have_one_core_each_in_turn() -> None:
    assert divided([4, 6], 3, 2) == [(4,), (6,), (4,)]


def test_hardware_threads_of_a_core_stay_together(tmp_path: Path) -> None:
    for cpu, core in enumerate([0, 1, 0, 1]):
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text("0\n")
        (topology / "core_id").write_text(f"{core}\n")
    ordered = by_topology({0, 1, 2, 3}, tmp_path)
    assert divided(ordered, 2, 4) == [(0, 2), (1, 3)]


def test_a_machine_without_topology_keeps_the_order_of_its_cores(tmp_path: Path) -> None:
    assert by_topology({2, 0, 1}, tmp_path) == [0, 1, 2]


def test_listed_cores_are_taken_as_they_are() -> None:
    assert core_sets(ReplicasOptions.model_validate([[5, 4], [7]])) == [(4, 5), (7,)]


def test_replicas_on_gpus_have_parts_of_the_cores() -> None:
    options = ReplicasOptions.model_validate(["cuda:1", "cuda:0"])
    assert len(core_sets(options)) == 2
    assert [gpu_of(options.devices, index) for index in range(2)] == ["cuda:1", "cuda:0"]
    assert gpu_of(None, 0) is gpu_of(((0,),), 0) is None


def test_a_core_that_is_not_there_is_refused() -> None:
    first = min(os.sched_getaffinity(0))
    check_cores(ReplicasOptions(devices=((first,),)))
    with pytest.raises(InputError, match=r"replicas.devices: found core 60000, which this process"):
        check_cores(ReplicasOptions(devices=((first,), (60000,))))


@pytest.mark.parametrize(
    ("cores", "devices", "shared"),
    [
        ([(0,), (1,)], ["cpu", "cpu"], None),
        ([(0,), (1,), (0,)], ["cpu", "cpu", "cpu"], "3 replicas share 2 CPU core(s)."),
        ([(0,), (0,)], ["cuda:0", "cuda:1"], None),
        ([(0,), (1,)], ["cuda:0", "cuda:0"], "2 replicas share 1 GPU(s)."),
    ],
)
def test_replicas_that_share_devices_are_a_caveat(
    cores: list[tuple[int, ...]], devices: list[str], shared: str | None
) -> None:
    assert [caveat.message for caveat in shared_caveats(cores, devices)] == [shared] * bool(shared)
