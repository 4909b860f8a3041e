"""Settings of servers: sweeps and overrides of the `server` of endpoints."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import ScenarioError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.server_settings import as_command_line, with_mark, with_setting

TEXT = """\
name: served
model: served:any
workload: synthetic
load: closed
requests: 4
collect: []
backends:
  - {kind: endpoint, name: vllm, server: {preset: vllm, arguments: --max-model-len 512}}
"""
URL = "backends: [{kind: endpoint, url: 'http://localhost:1'}]"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    path = tmp_path / "served.yaml"
    path.write_text(TEXT)
    return path


def cases(path: Path, *overrides: str) -> dict[str, Any]:
    """Return the server of each case, by its name."""
    source = scenario_file.load(path, overrides)
    return {case.name: getattr(case.backend_options, "server", None) for case in source.cases}


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ScenarioError) as error:
        scenario_file.load(path, overrides)
    return str(error.value)


def test_arguments_of_a_server_are_swept(served: Path) -> None:
    servers = cases(served, "sweep={server.arguments.max-num-seqs: [64, 128]}")
    assert {name: server.arguments for name, server in servers.items()} == {
        "vllm, server.arguments.max-num-seqs=64": "--max-model-len 512 --max-num-seqs 64",
        "vllm, server.arguments.max-num-seqs=128": "--max-model-len 512 --max-num-seqs 128",
    }


def test_environment_variables_of_a_server_are_swept_as_text(served: Path) -> None:
    servers = cases(served, "sweep={server.environment.VLLM_X: [0, 1, null]}")
    assert [server.environment for server in servers.values()] == [
        {"VLLM_X": "0"}, {"VLLM_X": "1"}, {},
    ]  # fmt: skip


def test_other_keys_of_a_server_are_swept(served: Path) -> None:
    sweep = "sweep={server.preset: [vllm, sglang], server.compile_caches: [keep, empty]}"
    found = [(s.preset, s.compile_caches) for s in cases(served, sweep).values()]
    assert found == [("vllm", "keep"), ("vllm", "empty"), ("sglang", "keep"), ("sglang", "empty")]


def test_a_setting_can_be_overridden(served: Path) -> None:
    (server,) = cases(served, "server.arguments.max-num-seqs=8", "server.replicas=2").values()
    assert server.arguments == "--max-model-len 512 --max-num-seqs 8"
    assert server.replicas == 2


def test_a_local_backend_beside_swept_servers_is_measured_once(served: Path) -> None:
    served.write_text(f"{TEXT}  - fake\n")
    sweep = "sweep={server.arguments.max-num-seqs: [1, 2], load.concurrency: [4, 8]}"
    assert list(cases(served, sweep)) == [
        "vllm, server.arguments.max-num-seqs=1, load.concurrency=4",
        "fake, load.concurrency=4",
        "vllm, server.arguments.max-num-seqs=1, load.concurrency=8",
        "fake, load.concurrency=8",
        "vllm, server.arguments.max-num-seqs=2, load.concurrency=4",
        "vllm, server.arguments.max-num-seqs=2, load.concurrency=8",
    ]


def test_a_value_replaces_the_argument_of_the_same_name_in_a_mapping(served: Path) -> None:
    arguments = "arguments: {max_num_seqs: 4, trust-remote-code: true, seed: null}"
    served.write_text(TEXT.replace("arguments: --max-model-len 512", arguments))
    servers = cases(served, "sweep={server.arguments.max-num-seqs: [64]}")
    assert [server.arguments for server in servers.values()] == [
        "--trust-remote-code --max-num-seqs 64"
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "--flag"), (False, ""), (None, ""), (0.5, "--flag 0.5"), ("", "--flag ''")],
)
def test_true_is_a_flag_and_false_and_null_leave_it_out(value: Any, text: str) -> None:
    assert as_command_line({"flag": value}) == text


def test_one_letter_has_one_dash() -> None:
    assert as_command_line({"c": 2048, "compilation-config.level": 3}) == (
        "-c 2048 --compilation-config.level 3"
    )


@given(st.dictionaries(st.from_regex(r"\A[a-z][a-z-]{1,8}\Z"), st.text() | st.integers()))
def test_every_value_is_one_word_of_the_command(arguments: dict[str, Any]) -> None:
    words = shlex.split(as_command_line(arguments))
    assert words == [w for name, value in arguments.items() for w in (f"--{name}", str(value))]


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (
            URL,
            ["sweep={server.arguments.x: [1]}"],
            "sweep.server.arguments.x: backend endpoint has no `server`, which llmbench would",
        ),
        (
            "backends: [fake]",
            ["sweep={server.preset: [vllm]}"],
            "sweep.server.preset: no backend is an endpoint, whose server could have this setting;",
        ),
        ("backends: [endpoint]", ["server.preset=vllm"], "--set server.preset=vllm: backend end"),
        (
            "",
            ["sweep={server.argumens.x: [1]}"],
            "backends.0.server.argumens: no such key; did you mean 'arguments'?",
        ),
        (
            "",
            ["sweep={server.arguments.max-num-seqs: [[1, 2]]}"],
            "expected text, a number, true, false or null, found [1, 2]",
        ),
        (
            "",
            ["sweep={server.environment.X: [true]}"],
            "server.environment.X: X: expected text or a number, found true; write what the server",
        ),
        (
            "",
            ["sweep={server.arguments.--max-num-seqs: [1]}"],
            "expected names without dashes before them, such as max-num-seqs: --max-num-seqs",
        ),
        (
            "",
            ["sweep={server.arguments.max_model_len: [1]}"],
            "`server.arguments` already has --max_model_len; write them as a mapping",
        ),
        (
            "",
            ["sweep={server.preset: [vllm, vlm]}"],
            "backends.0.server.preset: must be 'vllm', 'sglang',",
        ),
        (
            "",
            ["server.arguments.api-key=canary-0123456789"],
            "api-key: take the value from an environment variable",
        ),
        (
            "",
            ["server.environment=5", "server.environment.X=1"],
            "--set server.environment.X=1: `server.environment` has no keys",
        ),
        (
            "",
            ["server.preset=ollama", "server.replicas=2"],
            "`replicas` needs a preset with a flag for it (vllm, sglang)",
        ),
        (
            "",
            ["server.compile_caches=empty", "server.environment.TRITON_CACHE_DIR=/tmp/t"],
            "`compile_caches: empty` sets TRITON_CACHE_DIR; remove it from `environment`",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(
    served: Path, text: str, overrides: list[str], message: str
) -> None:
    if text:
        served.write_text(f"{TEXT.partition('backends:')[0]}{text}\n")
    found = complaint(served, *overrides)
    assert message in found
    assert found.startswith(("--set ", str(served)))


def test_a_swept_mistake_has_the_line_of_the_sweep(served: Path) -> None:
    served.write_text(f"{TEXT}sweep:\n  server.preset: [vlm]\n")
    assert complaint(served).startswith(f"{served}:10: backends.0.server.preset: must be")


def test_the_value_of_an_argument_can_be_marked_for_display() -> None:
    before = [{"kind": "endpoint", "server": {"arguments": "--len 512"}}]
    backends = with_setting(before, "server.arguments.seqs", 64)
    (marked,) = with_mark(backends, "server.arguments.seqs", 64, "(swept)")
    assert marked["server"]["arguments"] == "--len 512 --seqs (swept)"
    (marked,) = with_mark(before, "server.arguments.seqs", None, "(swept)")
    assert marked["server"]["arguments"] == "--len 512 --seqs (swept)"


def test_setting_the_same_value_again_changes_nothing() -> None:
    before = [{"kind": "endpoint", "server": {"arguments": "--len 512 --seqs 64"}}]
    assert with_setting(before, "server.arguments.seqs", 64) == before
    with pytest.raises(ValueError, match="already has --seqs"):
        with_setting(before, "server.arguments.seqs", 6)


def test_settings_leave_the_given_backends_unchanged() -> None:
    before = [{"kind": "endpoint", "server": {"environment": {"A": "1"}}}]
    with_setting(before, "server.environment.B", 2)
    assert before == [{"kind": "endpoint", "server": {"environment": {"A": "1"}}}]
