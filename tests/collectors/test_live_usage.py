"""Current use of the machine as one line."""

from __future__ import annotations

import re

import psutil
import pytest
from standin import MakeStandin, StandinGpu, StandinInstance

from llmbench.collectors.live_usage import LiveUsage


def test_it_is_empty_for_the_first_second() -> None:
    assert str(LiveUsage(now=lambda: 0.0)) == ""


def test_it_reads_this_machine_once_a_second() -> None:
    moments = iter([0.0, 1.5, 1.5, 2.0])
    usage = LiveUsage(now=lambda: next(moments))
    first = str(usage)
    assert re.match(r"CPU \d+ %", first)
    assert str(usage) == first


def after_a_second() -> str:
    moments = iter([0.0, 1.0, 1.0])
    return str(LiveUsage(now=lambda: next(moments)))


def test_each_card_has_its_values(standin: MakeStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 12.0)
    driver = standin([StandinGpu([(0, 312)]), StandinGpu(uuid="GPU-b", busy_percent=3)])
    driver.advance(5.0)
    assert after_a_second() == "CPU 12 %; GPU 0 87 %, 1.00 GiB, 312 W; GPU 1 3 %, 1.00 GiB, 60 W"


def test_cards_invisible_to_cuda_are_left_out(
    standin: MakeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    standin([StandinGpu(), StandinGpu(uuid="GPU-b", busy_percent=3)])
    assert "; GPU 0 3 %" in after_a_second()
    assert "GPU 1" not in after_a_second()


def test_an_instance_does_not_show_the_power_of_its_card(standin: MakeStandin) -> None:
    split = StandinGpu(mig=True, instances=[StandinInstance("MIG-a")])
    standin([split])
    assert " W" not in after_a_second()


def test_a_card_lost_later_is_unavailable(standin: MakeStandin) -> None:
    driver = standin([StandinGpu(lost_from=1.0)])
    moments = iter([0.0, 1.0, 1.0])
    usage = LiveUsage(now=lambda: next(moments))
    driver.advance(2.0)
    assert str(usage).endswith("; GPU 0 unavailable")


def test_a_card_lost_before_is_left_out(standin: MakeStandin) -> None:
    standin([StandinGpu(lost_from=-1.0)])
    assert "GPU" not in after_a_second()
