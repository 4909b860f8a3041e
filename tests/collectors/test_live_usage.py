"""How busy the machine is, in a few words."""

from __future__ import annotations

import re

import psutil
import pytest
from standin import MakeStandin, StandinGpu, StandinInstance

from llmbench.collectors.live_usage import Glance


def test_there_is_nothing_to_say_before_a_second_has_passed() -> None:
    assert str(Glance(now=lambda: 0.0)) == ""


def test_it_reads_this_machine_once_a_second() -> None:
    moments = iter([0.0, 1.5, 1.5, 2.0])
    told = Glance(now=lambda: next(moments))
    first = str(told)
    assert re.match(r"CPU \d+ %", first)
    assert str(told) == first


def told() -> str:
    """Give what a glance says after a second."""
    moments = iter([0.0, 1.0, 1.0])
    return str(Glance(now=lambda: next(moments)))


def test_cards_say_what_they_tell(standin: MakeStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 12.0)
    driver = standin([StandinGpu([(0, 312)]), StandinGpu(uuid="GPU-b", busy_percent=3)])
    driver.advance(5.0)
    assert told() == "CPU 12 %; GPU 0 87 %, 1.00 GiB, 312 W; GPU 1 3 %, 1.00 GiB, 60 W"


def test_cards_that_the_runs_cannot_use_are_left_out(
    standin: MakeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    standin([StandinGpu(), StandinGpu(uuid="GPU-b", busy_percent=3)])
    assert "; GPU 0 3 %" in told()
    assert "GPU 1" not in told()


def test_power_of_a_card_is_not_that_of_its_instance(standin: MakeStandin) -> None:
    split = StandinGpu(mig=True, instances=[StandinInstance("MIG-a")])
    standin([split])
    assert " W" not in told()


def test_a_card_that_tells_nothing_any_more_says_so(standin: MakeStandin) -> None:
    driver = standin([StandinGpu(lost_from=1.0)])
    moments = iter([0.0, 1.0, 1.0])
    glance = Glance(now=lambda: next(moments))
    driver.advance(2.0)
    assert str(glance).endswith("; GPU 0 tells nothing")


def test_a_card_that_is_lost_already_is_not_waited_for(standin: MakeStandin) -> None:
    standin([StandinGpu(lost_from=-1.0)])
    assert "GPU" not in told()
