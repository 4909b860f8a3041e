"""The sampler process watches this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from newest_child import newest_child
from standin import MakeStandin, StandinGpu

from llmbench.collectors.base import CollectorOptions
from llmbench.collectors.sampler import NICENESS, Collected, watch
from llmbench.errors import MeasurementError
from llmbench.runs.series import Series
from llmbench.scenario.schema import Scenario


def collectors(*kinds: str) -> list[CollectorOptions]:
    spec = {
        "name": "watched", "model": "random:tiny", "workload": "synthetic", "load": "closed",
        "backends": ["fake"], "requests": 1,
        "collect": [{"kind": kind, "interval": "20 ms"} for kind in kinds],
    }  # fmt: skip
    chosen: list[CollectorOptions] = Scenario.model_validate(spec).collect
    return chosen


def watched_while_busy(seconds: float, *kinds: str) -> tuple[Collected, float]:
    with watch(collectors(*kinds), os.getpid()) as watched:
        origin = time.monotonic()
        while time.monotonic() < origin + seconds:
            pass
    return watched, origin


def by_name(series: Sequence[Series]) -> dict[str, Series]:
    return {one.name: one for one in series}


@pytest.fixture(scope="module")
def busy_half_second() -> tuple[Collected, float]:
    return watched_while_busy(0.5, "cpu")


def test_it_sees_that_this_process_is_busy(busy_half_second: tuple[Collected, float]) -> None:
    watched, origin = busy_half_second
    busy = by_name(watched.series(origin))["process_cpu_percent"]
    assert busy.source == "measured"
    assert len(busy.values) > 3
    assert max(busy.values) > 30


def test_its_times_are_on_the_clock_of_the_load(busy_half_second: tuple[Collected, float]) -> None:
    watched, origin = busy_half_second
    for series in watched.series(origin):
        assert list(series.times) == sorted(series.times)
        assert all(-0.1 < moment < 5.0 for moment in series.times)


def test_it_counts_its_own_cost(busy_half_second: tuple[Collected, float]) -> None:
    watched, _ = busy_half_second
    cost = watched.facts["sampler"]
    assert cost["samples"]["cpu"] > 0
    assert cost["window_seconds"] >= 0.5
    assert cost["cpu_seconds"] > 0
    assert cost["cpu_percent_of_a_core"] == 100 * cost["cpu_seconds"] / cost["window_seconds"]
    assert cost["startup_cpu_seconds"] > 0


def test_the_memory_peak_includes_memory_freed_before_the_end() -> None:
    with watch(collectors("cpu"), os.getpid()) as watched:
        before = psutil.Process().memory_info().rss
        block = bytearray(200_000_000)
        block[::4096] = b"x" * len(block[::4096])
        del block
    assert watched.facts["rss_peak_bytes"] > before + 190_000_000


def test_without_a_gpu_every_gpu_series_has_the_reason() -> None:
    try:
        import pynvml  # noqa: PLC0415 (the driver decides whether this test applies)

        pynvml.nvmlInit()
    except pynvml.NVMLError:
        watched, origin = watched_while_busy(0.1, "gpu")
    else:
        pytest.skip("this machine has a GPU")
    power = by_name(watched.series(origin))["gpu0_power_average_watts"]
    assert (len(power.values), power.available) == (0, False)
    assert power.why_unavailable is not None
    assert power.why_unavailable.startswith("no NVIDIA driver")


def test_it_reads_gpus_through_the_installed_driver(
    standin: MakeStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = standin([StandinGpu([(0, 250)], cap_watts=500)])
    for name, value in driver.environment().items():
        monkeypatch.setenv(name, value)
    watched, origin = watched_while_busy(0.5, "gpu")
    series = by_name(watched.series(origin))
    assert set(series["gpu0_power_average_watts"].values) == {250.0}
    active = series["gpu0_sm_active_percent"].values
    assert len(active)
    assert active == pytest.approx(50.0)
    assert watched.facts["gpus"][0]["power_limit_watts"] == 500.0


def test_no_collectors_is_no_error() -> None:
    with watch([], os.getpid()) as watched:
        pass
    assert watched.series(0.0) == ()


def test_an_error_of_the_load_ends_the_watch() -> None:
    with pytest.raises(RuntimeError, match="the load broke"), watch(collectors("cpu"), os.getpid()):
        raise RuntimeError("the load broke")


def test_an_unknown_collector_is_a_caveat_and_the_others_go_on() -> None:
    class Unknown(CollectorOptions):
        kind: str = "unknown"

    with watch([Unknown(), *collectors("cpu")], os.getpid()) as watched:
        time.sleep(0.1)
    assert [caveat.kind for caveat in watched.caveats if caveat.kind == "collector-failed"]
    assert "no collector named 'unknown'" in watched.facts["sampler"]["failures"]["unknown"]
    assert by_name(watched.series(0.0))["process_rss_bytes"].available


def the_sampler() -> psutil.Process:
    guardian = newest_child()
    (sampler,) = guardian.children()
    return sampler


def test_when_the_sampler_is_killed_the_run_goes_on_and_series_have_the_reason() -> None:
    with watch(collectors("cpu", "gpu"), os.getpid()) as watched:
        the_sampler().kill()
    series = by_name(watched.series(0.0))
    assert series["process_cpu_percent"].why_unavailable == (
        "the sampler was killed by signal 9 during the run"
    )
    assert "gpu0_power_average_watts" in series
    assert [caveat.kind for caveat in watched.caveats] == ["sampler-died"]


def test_the_sampler_runs_at_a_lower_priority() -> None:
    with watch(collectors("cpu"), os.getpid()):
        assert the_sampler().nice() == psutil.Process().nice() + NICENESS


def test_an_interrupt_from_the_terminal_does_not_reach_the_sampler() -> None:
    with watch(collectors("cpu"), os.getpid()):
        assert os.getpgid(the_sampler().pid) != os.getpgrp()


def test_it_stops_although_a_child_of_the_load_kept_its_pipe_open() -> None:
    with watch(collectors("cpu"), os.getpid()) as watched:
        pipes = [int(fd.name) for fd in Path("/proc/self/fd").iterdir() if is_pipe(fd)]
        keeper = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=pipes
        )
    with keeper:
        assert keeper.poll() is None
    assert watched.facts["sampler"]["samples"]


def is_pipe(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("pipe:")
    except FileNotFoundError:  # that of the listing itself
        return False


def test_a_sampler_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with (
        pytest.raises(MeasurementError, match="the sampler exited with code 1"),
        watch(collectors("cpu"), os.getpid()),
    ):
        pass


def test_the_sampler_ends_when_its_parent_is_killed() -> None:
    script = (
        "import os, time\n"
        "from llmbench.collectors.cpu import Cpu\n"
        "from llmbench.collectors.sampler import watch\n"
        "class Options(Cpu.Options):\n"
        "    kind: str = 'cpu'\n"
        "with watch([Options()], os.getpid()):\n"
        "    print('watching', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert len(family) == 2
    assert not alive
