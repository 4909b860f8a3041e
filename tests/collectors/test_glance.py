"""How busy the machine is, in a few words."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from llmbench.collectors import glance
from llmbench.collectors.glance import Glance
from llmbench.collectors.gpu_devices import Device


class NVMLError(Exception):
    pass


class Nvml:
    """Answers for a card that keeps its power to itself."""

    NVMLError = NVMLError

    def nvmlDeviceGetUtilizationRates(self, _: Any) -> Any:  # noqa: N802 (NVML's names)
        return SimpleNamespace(gpu=93)

    def nvmlDeviceGetMemoryInfo(self, _: Any) -> Any:  # noqa: N802
        return SimpleNamespace(used=2**30)

    def nvmlDeviceGetPowerUsage(self, _: Any) -> float:  # noqa: N802
        raise NVMLError("Not Supported")


def test_there_is_nothing_to_say_before_a_second_has_passed() -> None:
    assert str(Glance(now=lambda: 0.0)) == ""


def test_it_reads_this_machine_once_a_second() -> None:
    moments = iter([0.0, 1.5, 1.5, 2.0])
    told = Glance(now=lambda: next(moments))
    first = str(told)
    assert re.match(r"CPU \d+ %", first)
    assert str(told) == first


def test_cards_say_what_they_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [Device(0, None, "GPU-0", "Card")]
    monkeypatch.setattr(glance, "_gpus", lambda: (Nvml(), cards))
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 12.0)
    moments = iter([0.0, 1.0, 1.0])
    assert str(Glance(now=lambda: next(moments))) == "CPU 12 %; GPU 0 93 %, 1.00 GiB"


def test_power_of_a_card_is_not_that_of_its_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling(Nvml):
        def nvmlDeviceGetPowerUsage(self, _: Any) -> float:  # noqa: N802
            return 312_000.0

    devices = [Device(i, None, f"GPU-{i}", "Card", is_instance=bool(i)) for i in range(2)]
    monkeypatch.setattr(glance, "_gpus", lambda: (Telling(), devices))
    moments = iter([0.0, 1.0, 1.0])
    told = str(Glance(now=lambda: next(moments)))
    assert told.endswith("; GPU 0 93 %, 1.00 GiB, 312 W; GPU 1 93 %, 1.00 GiB")
