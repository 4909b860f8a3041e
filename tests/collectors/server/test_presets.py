"""The presets read what the servers' documentation shows."""

from __future__ import annotations

from typing import Any

import pytest
from metric_servers import Readings, exposition, metric_server

from llmbench.collectors.server.presets import PRESETS, QUANTITIES, parse_preset, parse_source


@pytest.mark.parametrize("name", PRESETS)
def test_every_source_of_a_preset_is_valid(name: str) -> None:
    assert parse_preset(PRESETS[name]).keys() <= QUANTITIES.keys()


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("vllm", {"server_running": 0, "server_waiting": 0, "server_kv_cache_percent": 0,
                  "server_preemptions": 0}),
        ("sglang", {"server_running": 162, "server_waiting": 2826, "server_kv_cache_percent": 28,
                    "server_preemptions": 0, "server_draft_acceptance_percent": 50}),
        ("llama.cpp", {"server_running": 4, "server_waiting": 46, "server_kv_cache_percent": 25}),
        ("tgi", {"server_running": 4, "server_waiting": 7}),
        ("triton", {"server_running": 5, "server_waiting": 2, "server_kv_cache_percent": 12.5,
                    "servergpu0_power_average_watts": 93.5}),
        ("dcgm", {"servergpu0_power_average_watts": 413.25,
                  "servergpu1_power_average_watts": 70.5}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chosen", ["its name", "auto"])
def test_a_preset_finds_the_metrics_of_its_server(
    preset: str, values: dict[str, Any], chosen: str
) -> None:
    with metric_server(exposition(preset)) as server:
        readings = Readings(server.url, preset="auto" if chosen == "auto" else preset)
        readings.begin()
        known = {key: value for key, value in readings.next().items() if value is not None}
    assert known.pop("server_reading_seconds", 1.0) > 0
    assert known == pytest.approx(values)


def test_histograms_of_milliseconds_become_seconds() -> None:
    with metric_server(exposition("triton")) as server:
        readings = Readings(server.url)
        readings.begin()
        readings.next()
        rises = readings.probe.conclude().facts["server"]["rises"]
    assert rises["ttft"]["bounds"] == [0.1, 0.5]


@pytest.mark.parametrize("text", ["", "a b", "a{b}", 'a{b="c"', "a * x", "a" * 300, "1a", "ä"])
def test_a_source_that_is_not_valid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a|could not convert"):
        parse_source(text)


def test_a_source_has_labels_and_a_factor() -> None:
    source = parse_source('a:b{c="d", e=""} * 1e-3')
    assert (source.metric, source.labels, source.scale) == ("a:b", {"c": "d", "e": ""}, 0.001)
