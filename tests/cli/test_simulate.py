"""``llmbench simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench.cli import main

SCENARIO = """\
name: chat
description: A <b>server</b> whose times are known.
model: random:tiny
workload: {kind: synthetic, prompt_tokens: {uniform: [8, 40]}, output_tokens: {uniform: [2, 6]}}
load: {kind: poisson, rate: 16/s}
requests: 140
engine: {slots: 4}
backends:
  - {kind: fake, prefill: 20 ms, prefill_per_token: 0.1 ms, per_token: 5 ms, per_row: 1 ms}
slo: {ttft_p95: 150 ms}
sweep: {load.rate: [8, 24]}
price_per_hour: 2
collect: []
"""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A scenario, and a folder with its runs at two loads."""
    folder = tmp_path_factory.mktemp("simulated")
    scenario, results = folder / "chat.yaml", folder / "results"
    scenario.write_text(SCENARIO)
    assert main(["run", str(scenario), "--out", str(results), "--quiet"]) == 0
    return scenario, results


def simulate(measured: tuple[Path, Path], *more: str) -> int:
    scenario, results = map(str, measured)
    return main(["simulate", scenario, "--from", results, "--repeats", "3", "--quiet", *more])


def answered(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str], *more: str, code: int = 0
) -> dict[str, Any]:
    assert simulate(measured, "--json", *more) == code
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_more_load_needs_more_replicas(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(measured, capsys, "--replicas", "1..4", "--load.rate", "16,64")
    few, many = answer["loads"]
    assert few["load"] == "16/s"
    assert few["replicas"] == 1
    assert many["replicas"] == 3
    assert many["low"] <= many["replicas"] <= many["high"]
    assert many["costs"]["price_per_hour"]["value"] == 2 * many["replicas"]
    assert many["costs"]["power_watts"]["value"] is None
    assert many["costs"]["power_watts"]["reason"]
    assert many["requests_per_run"] == 4 * 140  # as long as at the scenario's own rate


def test_step_times_of_a_known_server_predict_its_held_out_loads(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    validation = answered(measured, capsys, "--replicas", "2")["validation"]
    assert validation["held_out_by"] == "load"
    assert [part["load"] for part in validation["held_out"]] == ["8/s", "24/s"]
    assert abs(validation["largest_error"]) < 0.01


def test_the_sweep_of_the_scenario_is_asked_without_a_range(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(measured, capsys, "--replicas", "2")
    assert [load["load"] for load in answer["loads"]] == ["8/s", "24/s"]


def test_a_load_that_no_number_holds_is_exit_code_1(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("--replicas", "1,2", "--load.rate", "90")
    answer = answered(measured, capsys, *arguments, code=1)
    (load,) = answer["loads"]
    assert load["replicas"] is None
    assert "none of 1 to 2 replicas meets the objectives" in answer["conclusion"][0]


def test_another_key_can_be_asked(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--replicas", "2", "--load.rate", "16", "--over", "engine.slots=2..4/2")
    answer = answered(measured, capsys, *more)
    assert [load["point"]["engine.slots"] for load in answer["loads"]] == [2, 4]


def test_longer_prompts_than_those_measured_are_no_answer_unless_asked_for(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--replicas", "4", "--load.rate", "8", "--set", "workload.prompt_tokens=120")
    assert simulate(measured, *more) == 2
    message = capsys.readouterr().err
    assert "simulate: 120 tokens per prefill step are outside the measured range of 8 to" in message
    assert "--extrapolate" in message
    marked = answered(measured, capsys, *more, "--extrapolate")
    assert marked["loads"][0]["extrapolated"]
    assert any("is an extrapolation" in sentence for sentence in marked["conclusion"])


def test_the_tables_have_the_answer_the_attainment_and_the_validation(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(measured, "--replicas", "1..3", "--load.rate", "16,32") == 0
    shown = capsys.readouterr().out
    assert "Replicas by load" in shown
    assert "Attainment" in shown
    assert "Validation of the step times" in shown
    assert "predicted within" in shown


def test_the_answer_is_written_as_a_page_and_as_data(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "answer"
    answer = answered(measured, capsys, "--replicas", "1..2", "--out", str(folder))
    assert json.loads((folder / "answer.json").read_text()) == answer
    page = (folder / "report.html").read_text()
    assert "A &lt;b&gt;server&lt;/b&gt;" in page
    assert answer["conclusion"][0] in page
    assert 'src="http' not in page


def test_a_recorded_trace_is_replayed_at_its_full_length(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "trace.csv"
    rows = (f"2024-05-10 00:00:{i / 10:09.6f},{8 + i % 30},{2 + i % 5}" for i in range(300))
    trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
    scenario = tmp_path / "trace.yaml"
    workload = f"workload: {{kind: trace, path: {trace}}}"
    lines = [line for line in SCENARIO.splitlines() if not line.startswith(("load", "workload"))]
    text = "\n".join([workload, "load: {kind: trace}", *lines])
    scenario.write_text(
        text.replace("requests: 140", "duration: 1 h").replace(
            "load.rate: [8, 24]", "load.speed: [1, 8]"
        )
    )
    answer = answered((scenario, measured[1]), capsys, "--replicas", "1..4")
    assert [load["requests_per_run"] for load in answer["loads"]] == [300, 300]
    slow, fast = (load["replicas"] for load in answer["loads"])
    assert slow == 1
    assert fast > 1


def test_a_seed_gives_the_same_answer_again(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--replicas", "1..2", "--load.rate", "24", "--seed", "7")
    assert answered(measured, capsys, *more) == answered(measured, capsys, *more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--replicas", "4..1"), "--replicas '4..1': expected a range"),
        (("--replicas", "1", "--load.rate", "9..1"), "--load.rate 9..1: expected a range"),
        (("--replicas", "1", "--load.rate", "fast"), "--load.rate fast"),
        (("--replicas", "1", "--over", "engine.slots"), "expected KEY=RANGE"),
        (("--replicas", "1", "--over", "engine.slotz=1,2"), "did you mean 'slots'"),
        (("--replicas", "1", "--balance", "random"), "--balance random"),
        (("--replicas", "1", "--case", "onnx"), "no case of"),
        (("--replicas", "1", "--repeats", "1"), "--repeats 1: expected 2 to"),
        (("--replicas", "1", "--seed", "-1"), "--seed -1: expected 0 or more"),
        (("--replicas", "1", "--set", "slo={}"), "the scenario has no `slo`"),
        (("--replicas", "1", "--set", "model=random:gpt2"), "measured with model.source"),
        (("--replicas", "1", "--set", "stop_at_eos=true"), "does not know where answers end"),
    ],
)
def test_bad_input_is_one_message(
    measured: tuple[Path, Path],
    more: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert simulate(measured, *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_an_interrupted_simulation_writes_nothing_and_says_so(
    measured: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmbench.simulation.simulate.simulate", interrupted)
    assert simulate(measured, "--replicas", "1", "--out", str(tmp_path / "answer")) == 130
    assert "interrupted: nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "answer").exists()


def test_a_folder_that_cannot_be_written_is_bad_input(
    measured: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = str(tmp_path / "file" / "answer")
    assert simulate(measured, "--replicas", "2", "--load.rate", "8", "--out", out) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_progress_names_each_load(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    scenario, results = map(str, measured)
    command = ["simulate", scenario, "--from", results, "--repeats", "2", "--replicas", "2"]
    assert main([*command, "--load.rate", "8,16"]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert "simulating 8/s" in shown
    assert "simulating 16/s" in shown


def test_a_folder_that_is_not_there_is_refused(
    measured: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["simulate", str(measured[0]), "--from", "nowhere", "--replicas", "1"]
    assert main(command) == 2
    assert "nowhere" in capsys.readouterr().err
