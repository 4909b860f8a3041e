"""GPUs of a stand-in driver, watched in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from standin import MakeStandin, StandinGpu
from watching import OURS, MakeWatch, Watch

from llmbench.collectors.gpu.collector import GpuProbe
from llmbench.collectors.gpu.devices import visible_devices
from llmbench.environment.nvml import open_nvml


@pytest.fixture(autouse=True)
def _shows_the_stand_ins_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def watch_gpus(standin: MakeStandin) -> MakeWatch:
    def begin(*gpus: StandinGpu, visible: str | None = None, missing: Sequence[str] = ()) -> Watch:
        driver = standin(gpus or (StandinGpu(pids=(OURS,)),), missing)
        nvml = open_nvml()
        probe = GpuProbe(
            nvml,
            visible_devices(nvml, visible),
            lambda: frozenset({OURS}),
            pid_exists=lambda _: True,
            now=driver.time,
            sleep=driver.advance,
        )
        probe.begin()
        return Watch(driver, probe)

    return begin
