"""Runs on a server over a real socket, with its metrics."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from cache_servers import SYNTHETIC, cache_server, measured
from metric_servers import dripping, endless, exposition, metric_server

from llmbench.analysis.metrics import summarize
from llmbench.collectors.sampler import Collected, merged, watch
from llmbench.collectors.server.collector import ServerMetricsOptions
from llmbench.errors import MissingExtraError
from llmbench.runs.run import Run


class Options(ServerMetricsOptions):
    """The options as in a scenario."""

    kind: str = "server"


def watched(url: str, seconds: float, **options: Any) -> Collected:
    with watch([Options(url=url, interval=0.1, **options)], os.getpid()) as collected:
        time.sleep(seconds)
    return collected


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a server whose prompts share four fifths, for 1.5 s."""
    workload = {**SYNTHETIC, "prompt_tokens": 200, "shared_prefix": 0.8}
    collect = [{"kind": "server", "interval": "100 ms"}]
    folder = tmp_path_factory.mktemp("served") / "run"
    with cache_server(ttft=0.1) as server:
        (made,) = measured(server, folder, workload=workload, requests=30, collect=collect).runs
    return made


def test_the_counters_are_those_of_the_requests(run: Run) -> None:
    rises = run.facts["server"]["rises"]
    counted = {
        name: sum(count for *_, count in rises[name]["increments"])
        for name in ("prefix_cache_queries", "prefix_cache_hits")
    }
    assert counted == {
        "prefix_cache_queries": sum(run.records["prompt_tokens"].to_pylist()),
        "prefix_cache_hits": sum(run.records["cached_tokens"].to_pylist()),
    }
    assert run.facts["server"]["url"].endswith("/metrics")


def test_a_metric_without_the_collector_says_so(tmp_path: Path) -> None:
    with cache_server() as server:
        (made,) = measured(server, tmp_path / "run").runs
    reason = "the scenario does not collect `server`"
    assert summarize(made)["server_ttft_p50"].reason == reason


@pytest.mark.parametrize("body", [endless, dripping], ids=["endless", "dripping"])
def test_a_hostile_server_does_not_stall_the_sampler(body: Any) -> None:
    with metric_server(exposition("vllm"), body) as server:
        began = time.monotonic()
        collected = watched(server.url, 0.5)
        assert time.monotonic() - began < 20
    assert collected.caveats == ()
    failed = collected.facts["server"]["failed_readings"]
    assert failed
    assert collected.facts["sampler"]["failures"] == {}


def test_a_host_that_is_unknown_is_the_reason_of_every_series() -> None:
    collected = watched("http://no-such-host.invalid/metrics", 0.2)
    assert collected.facts["sampler"]["failures"]["server"].startswith("InputError: ")
    assert [caveat.kind for caveat in collected.caveats] == ["collector-failed"]


def test_the_extra_is_named_if_its_package_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("llmbench.plugins.find_spec", lambda _: None)
    with cache_server() as server, pytest.raises(MissingExtraError, match=r"llmbench\[server\]"):
        measured(server, tmp_path / "run", collect=["server"])


def test_several_collectors_may_add_devices_to_one_fact() -> None:
    parts: list[dict[str, Any]] = [
        {"energy": {"package0": 1}, "a": 1},
        {"energy": {"servergpu0": 2}},
    ]
    assert merged(parts) == {"energy": {"package0": 1, "servergpu0": 2}, "a": 1}


def test_every_server_of_a_backend_is_read(tmp_path: Path) -> None:
    collect = [{"kind": "server", "interval": "100 ms"}]
    with cache_server(ttft=0.1) as one, cache_server(ttft=0.1) as other:
        one_url, one.url = one.url, [one.url, other.url]  # the scenario's `url`
        (made,) = measured(one, tmp_path / "run", requests=30, collect=collect).runs
        urls = [f"{one_url}/metrics", f"{other.url}/metrics"]
    assert [made.facts[name]["url"] for name in ("server", "server2")] == urls
    queries = [
        sum(count for *_, count in made.facts[name]["rises"]["prefix_cache_queries"]["increments"])
        for name in ("server", "server2")
    ]
    sent = [0, 0]
    for url, tokens in zip(
        made.records["url"].to_pylist(), made.records["prompt_tokens"].to_pylist(), strict=True
    ):
        sent[url != f"{one_url}/v1"] += tokens
    assert queries == sent
    names = {series.name for series in made.series}
    assert {"server_running", "server2_running", "server2_reading_seconds"} <= names


def test_two_servers_of_a_scenario_do_not_overwrite_each_other() -> None:
    with metric_server(exposition("vllm")) as one, metric_server(exposition("sglang")) as other:
        collectors = [Options(url=server.url, interval=0.1) for server in (one, other)]
        with watch(collectors, os.getpid()) as collected:
            time.sleep(0.5)
    assert collected.facts["server"]["url"] == one.url
    assert collected.facts["server2"]["url"] == other.url
    names = [series.name for series in collected.absolute]
    assert len(names) == len(set(names))
    assert {"server_running", "server2_running"} <= set(names)


def test_gpus_of_two_exporters_have_different_names() -> None:
    with metric_server(exposition("dcgm")) as one, metric_server(exposition("dcgm")) as other:
        collectors = [Options(url=server.url, interval=0.1) for server in (one, other)]
        with watch(collectors, os.getpid()) as collected:
            time.sleep(0.5)
    devices = {s.device for s in collected.absolute if s.quantity == "power_average_watts"}
    assert devices == {"servergpu0", "servergpu1", "server2gpu0", "server2gpu1"}
    assert collected.facts["energy"].keys() == devices
