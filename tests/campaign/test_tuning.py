"""The command `tune`: searches on a simulated server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench.campaign.process import Installation
from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import Run

Capture = pytest.CaptureFixture[str]

SERVER: dict[str, Any] = {  # 20 ms a prefill and 5 ms a decode step, whatever the batch
    "name": "tuned",
    "model": "builtin:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": 4, "output_tokens": 16},
    "load": {"kind": "closed", "concurrency": 8},
    "requests": 40,
    "backends": ["fake"],
    "collect": [],
}


def scenario(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "scenario.yaml"
    path.write_text(json.dumps({**SERVER, **changes}), "utf-8")
    return str(path)


def tuned(tmp_path: Path, *more: str, **changes: Any) -> list[str]:
    out = str(tmp_path / "out")
    over = ["--over", "engine.slots=1,4,8"]
    return [
        "tune",
        scenario(tmp_path, **changes),
        "--maximize",
        "throughput",
        *over,
        "--out",
        out,
        *more,
    ]


def test_the_command_finds_the_best_number_of_slots(tmp_path: Path, capsys: Capture) -> None:
    assert main(tuned(tmp_path, "--json")) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["best"] == "fake, engine.slots=8"
    assert (result["metric"], result["outcome"]) == ("output_tokens_per_second", "found")
    assert result["cost"]["runs"] == 9
    values = {s["point"]["engine.slots"]: s["value"] for s in result["settings"]}
    # one slot: 16 tokens in a prefill of 20 ms and 15 steps of 5 ms
    assert values[1] == pytest.approx(16 / 0.095, rel=0.03)
    assert values[1] < values[4] < values[8]
    best = result["settings"][0]
    assert best["against"]["e2e_p50"]["standing"] == "on the front"
    page = Path(result["report"]).read_text("utf-8")
    assert "Search for the best settings" in page
    assert "llmbench tune " in page


@pytest.mark.usefixtures("plain_pages")
def test_a_search_is_resumed(tmp_path: Path, capsys: Capture) -> None:
    assert main(tuned(tmp_path, "--json", "--budget", "5")) == 1
    first = json.loads(capsys.readouterr().out)
    assert (first["outcome"], first["best"], first["cost"]["runs"]) == ("budget", None, 5)
    before = {run.name: run.began_at for run in store.read(tmp_path / "out").runs}
    assert main(tuned(tmp_path, "--json", "--resume")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["outcome"], result["cost"]["runs"], result["cost"]["measured"]) == (
        "found",
        9,
        4,
    )
    after = {run.name: run.began_at for run in store.read(tmp_path / "out").runs}
    assert before.items() <= after.items()


@pytest.mark.usefixtures("plain_pages")
def test_the_stored_search_has_the_result_of_the_command(tmp_path: Path, capsys: Capture) -> None:
    assert main(tuned(tmp_path, "--json")) == 0
    printed = json.loads(capsys.readouterr().out)
    stored = store.read(tmp_path / "out")
    assert main(["report", str(stored.folder), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)[0]["search"]
    differing = {key for key in reported if reported[key] != printed[key]}
    assert differing == {"cost"}
    assert stored.search is not None
    assert 0 < stored.search.seconds < printed["cost"]["seconds"]


@pytest.mark.usefixtures("plain_pages")
def test_the_result_is_printed_with_cost_and_front(tmp_path: Path, capsys: Capture) -> None:
    assert main(tuned(tmp_path)) == 0
    text = capsys.readouterr().out
    assert "rung 1, 9 runs: 1 of 3 settings left; dropped: " in text
    assert "The best is fake, engine.slots=8: output tokens/s " in text
    assert "front  output tokens/s against E2E p50: " in text
    assert "cost  9 runs, " in text


@pytest.mark.usefixtures("plain_pages")
def test_the_points_of_a_sweep_are_settings_too(tmp_path: Path, capsys: Capture) -> None:
    path = scenario(tmp_path, sweep={"engine.slots": [2, 8]})
    command = ["tune", path, "--minimize", "e2e_p50", "--out", str(tmp_path / "out"), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["best"] == "fake, engine.slots=8"


@pytest.mark.usefixtures("plain_pages")
def test_goodput_can_be_maximized(tmp_path: Path, capsys: Capture) -> None:
    path = scenario(tmp_path, slo={"e2e_p99": "200 ms"})
    command = ["tune", path, "--maximize", "goodput", "--over", "engine.slots=1,8", "--json"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metric"] == "goodput_requests_per_second"


@pytest.mark.usefixtures("plain_pages")
def test_settings_beyond_the_load_are_equal(tmp_path: Path, capsys: Capture) -> None:
    path = scenario(tmp_path)
    command = ["tune", path, "--maximize", "throughput", "--over", "engine.slots=8,16,32"]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["outcome"] == "equal"
    assert [s["status"] for s in result["settings"]] == ["left"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--maximize", "ttft_p95"], "--maximize ttft_p95: lower is better; use --minimize"),
        (["--minimize", "goodput"], "--minimize goodput: higher is better; use --maximize"),
        (["--maximize", "goodputt"], "no metric named 'goodputt'; did you mean goodput?"),
        (["--maximize", "goodput"], "has no `slo`, which goodput needs"),
        (["--maximize", "throughput", "--against", "x"], "no metric named 'x'"),
        (["--maximize", "throughput", "--over", "engine.slots"], "expected KEY=VALUE,VALUE"),
        (["--maximize", "throughput", "--over", "engine.slot=1,2"], "engine.slot: no such key"),
        (["--maximize", "throughput", "--budget", "many"], "expected a number of runs, or a time"),
        (["--maximize", "throughput", "--budget", "0"], "expected a number of runs, or a time"),
        (["--maximize", "throughput", "--budget", "-3 min"], "expected a number of runs, or a"),
        (["--maximize", "throughput", "--resume"], "--resume needs --out"),
    ],
)
def test_a_mistake_is_explained(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    over = [] if "--over" in arguments else ["--over", "engine.slots=4,8"]
    assert main(["tune", scenario(tmp_path), *arguments, *over]) == 2
    assert message in capsys.readouterr().err


def test_one_setting_is_no_choice(tmp_path: Path, capsys: Capture) -> None:
    assert main(["tune", scenario(tmp_path), "--maximize", "throughput"]) == 2
    assert "the scenario has one setting; add values to choose from" in capsys.readouterr().err


def test_settings_that_cannot_run_are_failed_and_the_others_go_on(
    tmp_path: Path, capsys: Capture
) -> None:
    path = scenario(tmp_path, timeout="30 s")
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('unknown flag')")
    server = {"launch": f"{{python}} {broken}", "ready_timeout": "5 s"}
    backend = {"kind": "endpoint", "server": server}
    path = scenario(tmp_path, model="served:any", backends=[backend])
    command = ["tune", path, "--maximize", "throughput", "--over", "server.arguments.x=1,2"]
    assert main([*command, "--out", str(tmp_path / "out"), "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["outcome"], result["best"]) == ("failed", None)
    assert all("unknown flag" in setting["reason"] for setting in result["settings"])


@pytest.mark.usefixtures("plain_pages")
def test_ctrl_c_leaves_the_finished_runs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch, launched = Installation.launch, []

    def interrupted(*arguments: Any) -> Any:
        launched.append(arguments)
        if len(launched) == 5:
            raise KeyboardInterrupt
        return launch(*arguments)

    monkeypatch.setattr(Installation, "launch", interrupted)
    assert main(tuned(tmp_path, "--json")) == 130
    assert "resume with the same command and --out" in capsys.readouterr().err
    stored = store.read(tmp_path / "out")
    assert len(stored.runs) == 4
    assert stored.search is not None
    assert stored.search.runs is None
    assert stored.search.seconds > 0
    monkeypatch.setattr(Installation, "launch", launch)
    assert main(tuned(tmp_path, "--json", "--resume")) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["cost"]["runs"], result["cost"]["measured"]) == (9, 5)


@pytest.mark.usefixtures("contaminations")
@pytest.mark.usefixtures("plain_pages")
def test_nothing_is_recommended_if_other_programs_disturbed_runs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disturbed = Caveat("other-load", percent=40)
    monkeypatch.setattr(Run, "contaminations", [disturbed])
    assert main(tuned(tmp_path, "--json", rerun_contaminated=0)) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["outcome"], result["best"]) == ("found", None)
    assert result["settings"][0]["doubts"] == [disturbed.message]
    assert main(tuned(tmp_path, "--resume", rerun_contaminated=0)) == 1
    assert "in doubt  fake, engine.slots=1  Other programs used 40 %" in capsys.readouterr().out
