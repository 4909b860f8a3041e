"""Options of an endpoint name environment variables and contain no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.errors import InputError, ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.secrets import check_header, expanded

SECRET = "hush-0123456789"  # noqa: S105 (not one)

LITERALS: list[dict[str, Any]] = [
    {"headers": {"Authorization": f"Bearer {SECRET}"}},
    {"headers": {"Cookie": f"session={SECRET}"}},
    {"headers": {"Cookie": f"a=${{A_TOKEN}}; session={SECRET}"}},
    {"headers": {"Proxy-Authorization": f"Basic {SECRET}"}},
    {"headers": {"X-Custom": f"Bearer {SECRET}"}},
    {"headers": {"Bad Cookie": SECRET}},
    {"headers": [f"Authorization: {SECRET}"]},
    {"body": {"api_key": SECRET}},
    {"body": {"metadata": [{"password": SECRET}]}},
    {"server": {"preset": "vllm", "arguments": f"--api-key {SECRET} --seed 1"}},
    {"server": {"preset": "vllm", "arguments": f"--api-key={SECRET}"}},
    {"server": {"launch": f"./serve --token '{SECRET}' --port {{port}}"}},
    {"server": {"launch": f"env HF_TOKEN={SECRET} ./serve"}},
    {"server": {"launch": f"./serve --api-key '{SECRET}"}},
    {"server": {"preset": "vllm", "environment": {"HF_TOKEN": SECRET}}},
    {"server": {"preset": "vllm", "environment": {"PROXY": f"http://me:{SECRET}@proxy"}}},
    {"url": f"http://me:{SECRET}@localhost"},
    {"url": f"http://{SECRET}@localhost/v1"},
    {"url": f"http://me:pa/{SECRET}@localhost/v1"},
    {"url": ["http://localhost", f"http://me:{SECRET}@localhost"]},
    {"url": ["http://localhost", f"http://me:pa/{SECRET}@localhost/v1"]},
]

SCENARIO = """\
name: secrets
model: served:a
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: closed, concurrency: 2}
requests: 12
"""


@pytest.mark.parametrize("options", LITERALS, ids=str)
def test_a_secret_in_a_scenario_is_refused_and_not_shown(
    options: dict[str, Any], tmp_path: Path
) -> None:
    address = {} if "server" in options or "url" in options else {"url": "http://localhost"}
    backend = {"kind": "endpoint", **address, **options}
    path = tmp_path / "s.yaml"
    path.write_text(f"{SCENARIO}backends: [{json.dumps(backend)}]\n")
    with pytest.raises(ScenarioError) as raised:
        scenario_file.load(path)
    assert str(raised.value).startswith(f"{path}:")
    assert "hush" not in str(raised.value)
    assert "0123456789" not in str(raised.value)


CLASSES: list[dict[str, Any]] = [
    {"headers": {"Authorization": f"Bearer {SECRET}"}},
    {"headers": {"X-Custom": f"Bearer {SECRET}"}},
    {"body": {"api_key": SECRET}},
    {"url": f"http://me:{SECRET}@localhost"},
    {"model": {"uniform": [{"token": SECRET}]}},
]


@pytest.mark.parametrize("fields", CLASSES, ids=str)
def test_a_secret_in_a_class_is_refused_and_not_shown(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    classes = {"own": {"workload": "prompts", **fields}}
    workload = {"kind": "mixed", "classes": classes}
    kept = [line for line in SCENARIO.splitlines() if not line.startswith("workload")]
    path = tmp_path / "s.yaml"
    path.write_text("\n".join([*kept, f"workload: {json.dumps(workload)}", "backends: [fake]\n"]))
    with pytest.raises(ScenarioError) as raised:
        scenario_file.load(path)
    assert str(raised.value).startswith(f"{path}:")
    assert "hush" not in str(raised.value)
    assert "0123456789" not in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"Cookie": "session=${A_TOKEN}; Path=/", "X-Team": "bench"}},
        {"body": {"min_tokens": 16, "stop_token_ids": [1], "api_key": "${A_KEY}"}},
        {"server": {"preset": "vllm", "arguments": "--api-key ${A_KEY} --tokenizer some/name"}},
        {"server": {"launch": "./serve --max-num-batched-tokens 8192 --key ${A_KEY}"}},
        {"server": {"preset": "vllm", "environment": {"TOKENIZERS_PARALLELISM": "false"}}},
    ],
    ids=str,
)
def test_variables_and_harmless_options_are_accepted(options: dict[str, Any]) -> None:
    address = {} if "server" in options else {"url": "http://localhost"}
    EndpointOptions.model_validate({**address, **options})


def test_a_variable_that_would_not_be_redacted_is_refused() -> None:
    with pytest.raises(ValidationError, match="HOME would not be redacted"):
        EndpointOptions(url="http://localhost", headers={"X": "${HOME}"})


def test_variables_are_expanded_in_nested_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", SECRET)
    assert expanded({"a": ["x ${A_KEY}", 1]}, "body") == {"a": [f"x {SECRET}", 1]}


def test_an_unset_variable_is_an_error_that_names_the_option() -> None:
    with pytest.raises(InputError, match=r"server\.environment: .* NOT_SET_KEY is not set"):
        expanded({"a": "${NOT_SET_KEY}"}, "server.environment")


@pytest.mark.parametrize("key", [f"{SECRET}\r\nX-More: 1", f"{SECRET}\x00", f"{SECRET}–"])
def test_a_key_that_a_header_cannot_contain_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    with pytest.raises(InputError, match="Authorization: has a line break") as raised:
        check_header("Authorization", key)
    assert SECRET not in str(raised.value)
    if "\x00" not in key:  # which no environment variable can contain
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(InputError, match="Authorization: has a line break"):
            EndpointOptions(url="http://localhost").credentials()


def test_white_space_around_a_key_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {SECRET}\n")
    credentials = EndpointOptions(url="http://localhost").credentials()
    assert credentials == {"Authorization": f"Bearer {SECRET}"}
