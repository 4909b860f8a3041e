"""Scenarios from flags: they are the same as files, and have the same messages."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.runs import store
from llmbench.scenario import file as scenario_file

Capture = pytest.CaptureFixture[str]
TINY = ["run", "--model", "random:tiny"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(*arguments: str) -> dict[str, object]:
    assert main([*arguments, "--save", "chat.yaml", "--dry-run", "--quiet"]) == 0
    return scenario_file.load("chat.yaml").spec


def test_flags_are_a_scenario_that_is_printed_and_measured(capsys: Capture) -> None:
    flags = ["--backends", "fake", "--rate", "100", "--requests", "5", "--set", "repeats=1"]
    assert main([*TINY, *flags, "--set", "collect=[]", "--out", "out"]) == 0
    printed = capsys.readouterr().err
    run_set = store.read("out")
    for line in run_set.scenario_text.splitlines():
        assert f"  {line}\n" in printed
    assert "\nrepeats: 1 " in run_set.scenario_text
    assert run_set.runs[0].records.num_rows == 15


def test_a_saved_scenario_has_what_the_flags_say() -> None:
    spec = saved(*TINY, "--backends", "fake,{kind: fake, name: b}", "--rate", "8/s")
    assert spec["name"] == "chat"
    assert spec["model"] == "random:tiny"
    assert spec["load"] == {"kind": "poisson", "rate": "8/s"}
    assert spec["backends"] == ["fake", {"kind": "fake", "name": "b"}]


def test_a_saved_scenario_has_the_overrides() -> None:
    spec = saved(*TINY, "--set", "slo.ttft_p99=500 ms", "--set", "load.concurrency=3")
    assert spec["slo"] == {"ttft_p99": "500 ms"}
    assert spec["load"] == {"kind": "closed", "concurrency": 3}


def test_a_url_is_an_endpoint_whose_model_the_server_names() -> None:
    spec = saved("run", "--url", "http://localhost:8000", "--concurrency", "16")
    assert spec["model"] == "served:"
    assert spec["backends"] == [{"kind": "endpoint", "url": "http://localhost:8000"}]
    assert spec["load"] == {"kind": "closed", "concurrency": 16}


def test_the_model_of_a_url_is_its_name_on_the_server() -> None:
    assert saved("run", "--url", "http://localhost:8000", "--model", "a/b")["model"] == "served:a/b"


def test_a_name_that_resembles_something_else_stays_a_name() -> None:
    assert saved("run", "--url", "http://h:1", "--model", "x: #y")["model"] == "served:x: #y"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*TINY, "--rate", "-1"], "--rate -1: load.rate: must be greater than 0"),
        ([*TINY, "--rate", "[1"], "--rate [1: the value is not valid YAML"),
        ([*TINY, "--concurrency", "0"], "--concurrency 0: load.concurrency: must be greater"),
        ([*TINY, "--requests", "many"], "--requests many: requests: must be a whole number"),
        ([*TINY, "--backends", "fakd"], "--backends fakd: backends.0: no such kind 'fakd'; did"),
        (["run", "--url", "host:8000"], "--url host:8000: backends.0.url: expected http://"),
        (["run", "--model", "builtin:tinx"], "--model builtin:tinx: model: no built-in model"),
        ([*TINY, "--set", "load.rat=1"], "--set load.rat=1: load.rat: no such key"),
        (["run", "--rate", "8"], "specify a scenario, e.g. llmbench run default"),
        (["run", "a.yaml", "--rate", "8"], "--rate 8: the scenario is in a.yaml; change its keys"),
        (["run", "a.yaml", "--save", "b.yaml"], "--save b.yaml: the scenario is in a.yaml"),
        (["run", "--resume", "out", "--rate", "8"], "--resume reads the scenario from its folder"),
        ([*TINY, "--save", "nowhere/chat.yaml"], "nowhere/chat.yaml: cannot be written: No such"),
    ],
)
def test_a_mistake_names_the_flag(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    assert f"llmbench: {message}" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_file_is_replaced_only_if_forced(capsys: Capture) -> None:
    Path("chat.yaml").write_text("mine")
    arguments = [*TINY, "--save", "chat.yaml", "--dry-run"]
    assert main(arguments) == 2
    assert "chat.yaml: exists; choose another name" in capsys.readouterr().err
    assert Path("chat.yaml").read_text() == "mine"
    assert main([*arguments, "--force"]) == 0
    assert "scenario, written to chat.yaml:\n  name: chat\n" in capsys.readouterr().err
    assert scenario_file.load("chat.yaml").scenario.name == "chat"
