"""Interpreting NVML's values."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin import VALUE_TYPES, MakeStandin, StandinGpu

from llmbench.collectors.gpu.readings import (
    count_others,
    differences,
    field_value,
    limit_seconds,
    reason_shares,
)
from llmbench.environment.nvml import THROTTLE_REASONS, open_nvml

PIDS = st.frozensets(st.integers(1, 20), max_size=6)


def a_card() -> tuple[Any, Any]:
    nvml = open_nvml()
    return nvml, nvml.nvmlDeviceGetHandleByIndex(0)


@pytest.mark.parametrize("kind", VALUE_TYPES)
def test_a_field_is_read_from_the_member_of_its_type(standin: MakeStandin, kind: str) -> None:
    standin([StandinGpu(field_values={7: (kind, 12)})])
    assert field_value(*a_card(), 7) == 12.0


def test_a_field_has_a_return_code_of_its_own(standin: MakeStandin) -> None:
    standin([StandinGpu(faults={"field 186": pynvml.NVML_ERROR_NO_PERMISSION})])
    nvml, card = a_card()
    assert field_value(nvml, card, nvml.NVML_FI_DEV_POWER_AVERAGE) == 60_000
    with pytest.raises(pynvml.NVMLError_NoPermission):
        field_value(nvml, card, nvml.NVML_FI_DEV_POWER_INSTANT)


def test_counters_unknown_to_the_driver_are_none(standin: MakeStandin) -> None:
    standin([StandinGpu(field_values={75: ("ulonglong", 2.5e9)})])
    assert limit_seconds(*a_card()) == {
        "power": 0.0,
        "thermal": 2.5,
        "sync_boost": None,
        "board": None,
    }


def test_a_counter_that_went_back_has_no_difference() -> None:
    assert differences({"power": 9.0}, {"power": 1.0}) == {"power": None}


def test_a_counter_that_is_missing_at_one_edge_has_no_difference() -> None:
    assert differences({"power": None, "board": 1.0}, {"power": 1.0, "board": None}) == {
        "power": None,
        "board": None,
    }


def test_reasons_are_counted_by_bit() -> None:
    assert reason_shares(Counter({0x04: 1, 0x04 | 0x40: 1, 0: 2})) == {
        "power": 0.5,
        "hardware_thermal": 0.25,
    }


def test_no_readings_have_no_reasons() -> None:
    assert reason_shares(Counter()) == {}


@given(st.dictionaries(st.integers(0, 2**9 - 1), st.integers(1, 50), max_size=6))
def test_shares_lie_between_zero_and_one_and_zero_is_left_out(masks: dict[int, int]) -> None:
    shares = reason_shares(Counter(masks))
    assert shares.keys() <= set(THROTTLE_REASONS.values())
    assert all(0 < share <= 1 for share in shares.values())


@given(listed=PIDS, own=PIDS)
def test_without_a_container_others_are_all_but_our_own(
    listed: frozenset[int], own: frozenset[int]
) -> None:
    assert count_others(listed, own, exists=lambda _: True) == len(listed - own)


def test_in_a_container_one_unknown_id_is_our_own() -> None:
    assert count_others(frozenset({70001}), frozenset({1}), exists=lambda _: False) == 0
    assert count_others(frozenset({70001, 70002}), frozenset({1}), exists=lambda _: False) == 1


def test_if_we_are_listed_an_unknown_id_is_another_process() -> None:
    assert count_others(frozenset({1, 70001}), frozenset({1}), exists=lambda _: False) == 1


def test_an_idle_gpu_has_no_others() -> None:
    assert count_others(frozenset(), frozenset({1}), exists=lambda _: False) == 0
