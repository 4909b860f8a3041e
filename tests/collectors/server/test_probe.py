"""A probe that reads a real server over a socket."""

from __future__ import annotations

import time

import pytest
from metric_servers import Body, Readings, dripping, endless, exposition, metric_server, response

from llmbench.collectors.server.exposition import OPENMETRICS

VLLM = """\
process_start_time_seconds {start}
vllm:num_requests_running{{engine="0"}} {running}
vllm:num_requests_running{{engine="1"}} 2
vllm:num_requests_waiting{{engine="0"}} 1
vllm:kv_cache_usage_perc{{engine="0"}} 0.25
vllm:kv_cache_usage_perc{{engine="1"}} 0.75
vllm:prefix_cache_queries_total{{engine="0"}} {queries}
vllm:prefix_cache_hits_total{{engine="0"}} {hits}
vllm:num_preemptions_total{{engine="0"}} {preemptions}
vllm:time_to_first_token_seconds_bucket{{le="0.1"}} {queries}
vllm:time_to_first_token_seconds_bucket{{le="+Inf"}} {queries}
"""


def vllm(
    queries: float = 0,
    hits: float = 0,
    *,
    running: float = 1,
    preemptions: float = 0,
    start: float = 1,
) -> str:
    return VLLM.format(
        queries=queries, hits=hits, running=running, preemptions=preemptions, start=start
    )


def test_gauges_are_summed_and_the_fullest_cache_counts() -> None:
    with metric_server(vllm(running=3)) as server:
        readings = Readings(server.url)
        readings.begin()
        values = readings.next()
    assert values["server_running"] == 5
    assert values["server_kv_cache_percent"] == 75


def test_the_hit_ratio_covers_the_time_since_the_previous_reading() -> None:
    bodies = [vllm(), vllm(1000, 500), vllm(1100, 575), vllm(1100, 575)]
    with metric_server(*bodies) as server:
        readings = Readings(server.url)
        readings.begin()
        ratios = [readings.next()["server_prefix_cache_hit_percent"] for _ in range(3)]
    assert ratios == [None, 75, None]


def test_preemptions_are_a_running_total_of_the_run() -> None:
    with metric_server(*(vllm(preemptions=n) for n in (7, 7, 7, 9, 10))) as server:
        readings = Readings(server.url)
        readings.begin()
        totals = [readings.next()["server_preemptions"] for _ in range(4)]
    assert totals == [0, 0, 2, 3]


def test_increments_have_the_number_of_their_reading() -> None:
    bodies = [vllm(), vllm(10, 5), vllm(20, 5), vllm(30, 5), vllm(40, 5)]
    with metric_server(*bodies) as server:
        readings = Readings(server.url)
        readings.begin()
        readings.next()
        readings.next()
        facts = readings.probe.conclude().facts["server"]  # drops the third, reads the fourth
    assert facts["rises"]["prefix_cache_queries"]["increments"] == [[1, 0, 10], [2, 0, 20]]
    assert facts["rises"]["ttft"] == {"bounds": [0.1], "increments": [[1, 0, 10], [2, 0, 20]]}
    assert facts["metrics"]["running"] == "vllm:num_requests_running (sum of 2 series)"
    assert facts["metrics"]["kv_cache"] == "vllm:kv_cache_usage_perc (largest of 2 series)"


@pytest.mark.parametrize(
    ("second", "reason"),
    [(vllm(5, 5), "counter_reset: the counter decreased"), (vllm(20, start=2), "restarted")],
)
def test_a_reset_makes_counters_unavailable(second: str, reason: str) -> None:
    with metric_server(vllm(10), vllm(10), second) as server:
        readings = Readings(server.url)
        readings.begin()
        readings.next()
        assert readings.next()["server_prefix_cache_hit_percent"] is None
        facts = readings.probe.conclude().facts["server"]["rises"]["prefix_cache_queries"]
    assert reason in facts["unavailable"]


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "-1", "1e300"])
def test_a_gauge_that_is_no_number_of_requests_has_no_value(value: str) -> None:
    with metric_server(f"vllm:num_requests_running {value}\n") as server:
        readings = Readings(server.url)
        readings.begin()
        assert readings.next()["server_running"] is None


def test_a_reading_has_its_own_time() -> None:
    with metric_server(vllm()) as server:
        readings = Readings(server.url)
        began = time.monotonic()
        readings.begin()
        ended = time.monotonic()
        time.sleep(0.05)
        readings.next()
    moment = readings.probe.read_at()
    assert moment is not None
    assert began < moment < ended


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(endless, "more than 10,485,760 bytes", id="endless"),
        pytest.param(b"a 1\n" * 3 * 2**20, "more than 10,485,760 bytes", id="too large"),
        pytest.param(dripping, "not complete within 0.4 s", id="dripping"),
        pytest.param(lambda _: time.sleep(0.6), "not complete within 0.4 s", id="silent"),
        pytest.param(lambda _: None, "no valid response", id="closed"),
        pytest.param(b"vllm:num_requests_running \xff\n", "UnicodeDecodeError", id="encoding"),
        pytest.param("vllm:num_requests_running one\n", "not a Prometheus text", id="malformed"),
        pytest.param(response("404 Not Found\r\nContent-Length: 0"), "HTTP 404", id="status"),
        pytest.param(
            response("302 Found\r\nContent-Length: 0\r\nLocation: http://example.org/metrics"),
            "HTTP 302",
            id="redirect",
        ),
        pytest.param("<!DOCTYPE html><html></html>", "no metric of a known server", id="page"),
        pytest.param("", "no metric of a known server", id="empty"),
    ],
)  # fmt: skip
def test_a_response_of_no_use_is_the_reason_why_all_is_unavailable(body: Body, reason: str) -> None:
    with metric_server(body) as server:
        readings = Readings(server.url)
        (message,) = readings.unavailable()
    assert reason in str(message)


def test_a_server_of_a_known_kind_may_answer_later() -> None:
    down = response("503 Service Unavailable\r\nContent-Length: 0")
    with metric_server(down, down, vllm()) as server:
        readings = Readings(server.url, preset="vllm")
        assert readings.unavailable() == {None}
        readings.begin()
        assert set(readings.next().values()) == {None}
        assert readings.next()["server_running"] == 3
        facts = readings.probe.conclude().facts["server"]
    assert facts["failed_readings"] == {"HTTP 503; set `url` to the server's metrics": 2}


def test_only_some_reasons_are_stored_and_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "very-secret-1234")
    bodies = [f"vllm:num_requests_running very-secret-1234 {number}\n" for number in range(40)]
    with metric_server(*bodies) as server:
        readings = Readings(server.url, preset="vllm")
        readings.begin()
        for _ in range(38):
            readings.next()
        failed = readings.probe.conclude().facts["server"]["failed_readings"]
    assert len(failed) <= 21
    assert sum(failed.values()) == 41
    assert "secret-1234" not in str(failed)


def test_a_slow_server_delays_no_reading() -> None:
    with metric_server(vllm(), vllm(), lambda _: time.sleep(0.3)) as server:
        readings = Readings(server.url)
        readings.begin()
        readings.next()
        began = time.monotonic()
        assert set(readings.probe.read()) == {None}
        assert time.monotonic() - began < 0.2
        readings.probe.conclude()


def test_a_lacking_metric_is_the_reason_of_its_series() -> None:
    with metric_server(exposition("vllm")) as server:
        readings = Readings(server.url)
        readings.begin()
        readings.next()
        readings.probe.conclude()
        reasons = readings.probe.reasons()
    assert "vllm:spec_decode_num_accepted_tokens" in reasons["server_draft_acceptance_percent"]
    assert "counted nothing" in reasons["server_prefix_cache_hit_percent"]


def test_quantities_of_the_scenario_replace_those_of_the_preset() -> None:
    text = f'{vllm()}my_gauge{{pool="a"}} 4\nmy_gauge{{pool="b"}} 40\n'
    with metric_server(text) as server:
        readings = Readings(server.url, quantities={"running": 'my_gauge{pool="b"} * 2'})
        readings.begin()
        values = readings.next()
    assert values["server_running"] == 80
    assert values["server_waiting"] == 1


def test_openmetrics_is_read_too() -> None:
    text = "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running 4\n# EOF\n"
    with metric_server(text, content_type=f"{OPENMETRICS}; version=1.0.0") as server:
        readings = Readings(server.url)
        readings.begin()
        assert readings.next()["server_running"] == 4


def test_energy_has_a_value_when_the_counter_has_changed() -> None:
    first, more = exposition("dcgm"), exposition("dcgm").replace("2000000000", "2000500000")
    with metric_server(first, first, first, more) as server:
        readings = Readings(server.url)
        readings.begin()
        joules = [readings.next()["servergpu0_energy_joules"] for _ in range(3)]
        energy = readings.probe.conclude().facts["energy"]
    assert joules == [None, None, 500.0]
    assert energy["servergpu0"]["uuid"] == "GPU-aaaa"
    assert energy["servergpu0"]["method"] == "dcgm-counter"


def test_an_exporter_of_gpus_says_nothing_of_a_server() -> None:
    with metric_server(exposition("dcgm")) as server:
        readings = Readings(server.url)
        readings.begin()
        assert not [name for name in readings.next() if name.startswith("server_")]
        assert readings.probe.conclude().facts.keys() == {"energy"}


# -- credentials -----------------------------------------------------------------------------------


def test_a_url_of_its_own_gets_no_key_of_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-others-1")
    with metric_server(vllm()) as server:
        Readings(server.url)
    assert "not-for-others-1" not in server.requests[0]
    assert server.requests[0].startswith("GET /metrics HTTP/1.1")


def test_a_named_key_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_API_KEY", "for-metrics-1")
    with metric_server(vllm()) as server:
        Readings(server.url, api_key_env="METRICS_API_KEY")
    assert "Authorization: Bearer for-metrics-1" in server.requests[0]
