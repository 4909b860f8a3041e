"""A process of its own watches this one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from llmbench.collectors.cpu import Cpu
from llmbench.collectors.sampler import Watched, watch
from llmbench.plugins import Options
from llmbench.record import Series
from llmbench.scenario import Scenario


def collectors(*kinds: str) -> list[Options]:
    spec = {
        "name": "watched", "model": "random:tiny", "workload": "synthetic", "load": "closed",
        "backends": ["fake"], "requests": 1,
        "collect": [{"kind": kind, "interval": "20 ms"} for kind in kinds],
    }  # fmt: skip
    chosen: list[Options] = Scenario.model_validate(spec).collect
    return chosen


def watched_while_busy(seconds: float, *kinds: str) -> tuple[Watched, float]:
    with watch(collectors(*kinds), os.getpid()) as watched:
        origin = time.monotonic()
        while time.monotonic() < origin + seconds:
            pass
    return watched, origin


def by_name(series: list[Series]) -> dict[str, Series]:
    return {each.name: each for each in series}


def test_it_sees_that_this_process_is_busy() -> None:
    watched, origin = watched_while_busy(0.5, "cpu")
    busy = by_name(watched.series(origin))["process_cpu_percent"]
    assert busy.source == "measured"
    assert len(busy.values) > 3
    assert max(busy.values) > 30


def test_its_times_are_on_the_clock_of_the_load() -> None:
    watched, origin = watched_while_busy(0.3, "cpu")
    for series in watched.series(origin):
        assert list(series.times) == sorted(series.times)
        assert all(-0.1 < moment < 0.6 for moment in series.times)


def test_it_counts_its_own_cost() -> None:
    watched, _ = watched_while_busy(0.3, "cpu")
    assert watched.facts["sampler"]["samples"] > 0
    assert watched.facts["sampler"]["cpu_seconds"] > 0


def test_the_memory_peak_sees_what_was_given_back_before_the_end() -> None:
    with watch(collectors("cpu"), os.getpid()) as watched:
        before = psutil.Process().memory_info().rss
        block = bytearray(200_000_000)
        block[::4096] = b"x" * len(block[::4096])
        del block
    assert watched.facts["rss_peak_bytes"] > before + 190_000_000


def test_without_a_gpu_every_gpu_series_says_why_it_has_no_values() -> None:
    try:
        import pynvml  # noqa: PLC0415 (the driver decides whether this test applies)

        pynvml.nvmlInit()
    except pynvml.NVMLError:
        watched, origin = watched_while_busy(0.1, "gpu")
    else:
        pytest.skip("this machine has a GPU")
    power = by_name(watched.series(origin))["gpu0_power_watts"]
    assert (power.values, power.available) == ((), False)
    assert power.why_unavailable is not None
    assert power.why_unavailable.startswith("NVML is not available")


def test_nobody_to_watch_with_is_no_error() -> None:
    with watch([], os.getpid()) as watched:
        pass
    assert watched.series(0.0) == []


def test_a_watch_ends_with_the_error_of_what_it_watched() -> None:
    with pytest.raises(RuntimeError, match="the load broke"), watch(collectors("cpu"), os.getpid()):
        raise RuntimeError("the load broke")


def test_the_sampler_ends_when_its_parent_is_killed() -> None:
    options = Cpu.Options().model_dump(mode="json") | {"kind": "cpu"}
    script = (
        "import subprocess, sys, json, os, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'llmbench.collectors.sampler'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        f"job = {{'pid': os.getpid(), 'collectors': [{json.dumps(options)}]}}\n"
        "child.stdin.write(json.dumps(job) + '\\n'); child.stdin.flush()\n"
        "assert child.stdout.readline() == 'ready\\n'\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        sampler = psutil.Process(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
    sampler.wait(timeout=10)
