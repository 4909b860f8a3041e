"""The options of the collector `server` in a scenario."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llmbench.collectors.base import Access
from llmbench.collectors.server.collector import ServerMetricsOptions
from llmbench.scenario.schema import Scenario

ENDPOINT = {"kind": "endpoint", "url": "http://localhost:8000"}
ACCESS = Access(
    ("http://localhost:8000", "http://other:8000"), "MY_API_KEY", {"X-Team": "a"}, verify=False
)


def scenario(backend: Any, **collector: Any) -> Scenario:
    return Scenario.model_validate({
        "name": "served", "model": "builtin:tiny", "workload": "synthetic", "load": "closed",
        "requests": 1, "backends": [backend], "collect": [{"kind": "server", **collector}],
    })  # fmt: skip


def test_a_local_backend_has_no_metrics() -> None:
    with pytest.raises(ValidationError, match="`eager` has no server; set its `url`"):
        scenario("eager")


def test_a_url_allows_a_local_backend() -> None:
    assert scenario("eager", url="http://gpu:9400/metrics").collect[0].url


def test_an_endpoint_needs_no_options() -> None:
    assert scenario(ENDPOINT).collect[0].interval == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantities": {"runing": "a"}}, "no quantity named 'runing'"),
        ({"quantities": {"running": "a b"}}, "is not a metric"),
        ({"url": "ftp://x"}, "expected http"),
        ({"url": "http://me:secret@x"}, "no credentials"),
        ({"api_key_env": "HOME"}, "would not be redacted"),
        ({"headers": {"Authorization": "Bearer abc"}}, "environment variable"),
        ({"preset": "other"}, "'auto', 'vllm'"),
    ],
)
def test_options_that_are_not_valid_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        scenario(ENDPOINT, **options)


def test_the_url_and_the_credentials_are_those_of_the_endpoint() -> None:
    options, other = ServerMetricsOptions().for_servers(ACCESS)
    assert options.url == "http://localhost:8000/metrics"
    assert (options.api_key_env, options.headers) == ("MY_API_KEY", {"X-Team": "a"})
    assert options.verify is False
    assert other == options.model_copy(update={"url": "http://other:8000/metrics"})


def test_a_url_of_its_own_keeps_its_path_and_gets_no_credentials() -> None:
    (options,) = ServerMetricsOptions(url="http://gpu:9400").for_servers(ACCESS)
    assert options.url == "http://gpu:9400/metrics"
    assert (options.api_key_env, options.headers) == (None, {})
    (own,) = ServerMetricsOptions(url="http://gpu:8000/prometheus/metrics").for_servers(ACCESS)
    assert own.url == "http://gpu:8000/prometheus/metrics"
