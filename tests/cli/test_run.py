"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from llmbench.backends.endpoint import Endpoint
from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background
from llmbench.campaign.process import Installation
from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.lock import locked
from llmbench.runs.run import Failure
from llmbench.scenario import shipped

SCENARIO = """\
name: simulated
description: A simulated server.
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: poisson, rate: 4/s}
requests: 10
collect: []
backends: [fake]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "simulated.yaml"
    path.write_text(SCENARIO)
    return path


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "out")


Capture = pytest.CaptureFixture[str]


def test_a_good_run_exits_with_0_and_writes_a_report(path: Path, out: str, capsys: Capture) -> None:
    assert main(["run", str(path), "--out", out]) == 0
    assert Path(out, "report.html").is_file()
    printed = capsys.readouterr()
    assert f"report   {out}/report.html" in printed.out
    begun, ended = printed.err.splitlines()
    assert begun == "run 1 of 1: fake, repeat 1"
    assert ended.startswith("fake, repeat 1: done in ")


def test_unavailable_energy_that_is_required_fails_with_all_results_written(
    path: Path, out: str, capsys: Capture
) -> None:
    assert main(["run", str(path), "--out", out, "--require", "energy", "--quiet"]) == 1
    assert Path(out, "report.html").is_file()
    assert "fake-r1: --require energy: the scenario does not collect" in capsys.readouterr().err


def test_json_is_the_only_thing_on_stdout(path: Path, out: str, capsys: Capture) -> None:
    assert main(["run", str(path), "--out", out, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == out
    assert printed["failed"] == []
    metrics = {row["metric"]: row["value"] for row in printed["summary"]}
    assert metrics["ttft_p50"] > 0
    assert metrics["memory_weights_bytes"] is None


def test_a_failed_run_exits_with_1(
    path: Path, out: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = Failure("timeout", "did not finish within 5 s")
    monkeypatch.setattr(Installation, "launch", lambda *_: failure)
    assert main(["run", str(path), "--out", out]) == 1
    assert "fake-r1 failed: did not finish within 5 s" in capsys.readouterr().err
    assert Path(out, "report.html").is_file()


# one request is served for a minute, while those that fall due are dropped
DROPPING = [
    "--set=load.rate=100",
    "--set=max_in_flight=1",
    "--set=on_limit=drop",
    "--set=backends=[{kind: fake, prefill: 60 s}]",
]


def test_a_run_without_a_successful_request_exits_with_1_and_is_stored(
    path: Path, out: str, capsys: Capture
) -> None:
    arguments = ["run", str(path), "--out", out, "--max-error-rate", "1", *DROPPING]
    assert main([*arguments, "--set", "warmup=1"]) == 1
    printed = capsys.readouterr().err
    assert "fake-r1: 10 of 10 measured requests failed; most common: dropped: not" in printed
    assert store.read(out).runs[0].records.num_rows == 11


@pytest.mark.parametrize(("rate", "code"), [([], 1), (["--max-error-rate", "0.9"], 0)])
def test_a_run_with_more_errors_than_allowed_exits_with_1(
    path: Path, out: str, capsys: Capture, rate: list[str], code: int
) -> None:
    assert main(["run", str(path), "--out", out, *DROPPING, *rate]) == code
    failed = "fake-r1: 9 of 10 measured requests failed (--max-error-rate 0.5)"
    assert (failed in capsys.readouterr().err) == code


@pytest.mark.parametrize("behavior", ["plain-error", "aborted", "runaway"])
def test_a_server_that_fails_every_request_exits_with_1(
    path: Path, out: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch, behavior: str
) -> None:
    monkeypatch.setattr(Endpoint, "lead_seconds", 0.02)
    monkeypatch.setattr(Endpoint, "lead_seconds_of_clients", 0.02)
    with in_background(AdversarialServer()) as server:
        backend = f"{{kind: endpoint, url: '{server.url}', model: {behavior}}}"
        arguments = ["--set", f"backends=[{backend}]", "--set", "load.rate=100", "--quiet"]
        assert main(["run", str(path), "--out", out, *arguments]) == 1
    error = BEHAVIORS[behavior].error
    message = f"endpoint-r1: 10 of 10 measured requests failed; most common: {error}"
    assert message in capsys.readouterr().err


def test_a_server_that_refuses_is_asked_once_and_stops_all_runs_with_its_words(
    path: Path, out: str, capsys: Capture
) -> None:
    asked: list[str] = []

    def refuse(model: str) -> str:
        asked.append(model)
        return "no behavior, which is HTTP 404"

    with in_background(AdversarialServer(refuse)) as server:
        backends = f"backends=[{{kind: endpoint, url: '{server.url}'}}]"
        sweep = ["--set", "sweep={load.rate: [1, 2]}", "--set", "repeats=3"]
        assert main(["run", str(path), "--out", out, "--set", backends, *sweep]) == 2
    printed = capsys.readouterr().err
    place = f"--set {backends}: backends: endpoint: {server.url}/v1"
    assert printed.startswith(f"llmbench: {place}: refuses a first request (http-404): ")
    assert "no such model" in printed
    assert len(asked) == 1
    assert not Path(out).exists()


def test_a_server_is_asked_before_missing_runs_are_resumed(
    path: Path, out: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Endpoint, "lead_seconds", 0.02)
    asked: list[str] = []
    answers = ["plain"]

    def choose(model: str) -> str:
        asked.append(model)
        return answers[-1]

    with in_background(AdversarialServer(choose)) as server:
        backends = f"backends=[{{kind: endpoint, url: '{server.url}', model: plain}}]"
        fast = ["--set", "load.rate=100", "--set", "repeats=2", "--quiet"]
        assert main(["run", str(path), "--out", out, "--set", backends, *fast]) == 0
        answers.append("no behavior, which is HTTP 404")
        asked.clear()
        assert main(["run", "--resume", out, "--quiet"]) == 0
        assert asked == []  # no run is missing
        shutil.rmtree(Path(out, "runs", "endpoint-r2"))
        assert main(["run", "--resume", out]) == 2
    place = f"--set {backends}: backends: endpoint: {server.url}/v1"
    refusal = f"llmbench: {place}: refuses a first request (http-404): "
    assert capsys.readouterr().err.startswith(refusal)
    assert asked == ["plain"]


def test_few_errors_are_only_a_caveat(path: Path, out: str, capsys: Capture) -> None:
    few = ["--set=max_in_flight=1", "--set=on_limit=drop"]
    assert main(["run", str(path), "--out", out, *few]) == 0
    printed = capsys.readouterr()
    assert "of 10 measured requests failed or did not finish" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "specify a scenario"),
        (["run", "nowhere.yaml"], "no such scenario file"),
        (["run", "{path}", "--set", "load.rate=-1"], "load.rate: must be greater than 0"),
        (["run", "{path}", "--max-error-rate", "50"], "--max-error-rate 50: must be from 0 to 1"),
        (["run", "{path}", "--out", "{path}"], "is a file"),
        (["run", "{path}", "--set", "model=./nowhere"], "no such folder"),
        (["run", "--resume", "{folder}"], "not a results folder of llmbench"),
        (["run", "{path}", "--resume", "{folder}"], "remove the other arguments"),
        (["report", "{folder}"], "not a results folder of llmbench"),
        (["export", "{folder}", "--format", "csv"], "not a results folder of llmbench"),
    ],
)
def test_bad_input_exits_with_2_and_one_message(
    path: Path, arguments: list[str], message: str, capsys: Capture
) -> None:
    filled = [a.format(path=path, folder=path.parent) for a in arguments]
    assert main(filled) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_bad_input_found_by_the_worker_exits_with_2_and_its_place(
    path: Path, out: str, capsys: Capture
) -> None:
    (path.parent / "long.jsonl").write_text(json.dumps({"prompt": "x" * 4000}))
    text = SCENARIO.replace("[fake]", "[eager]").splitlines()
    text[3] = f"workload: {{kind: dataset, path: {path.parent}/long.jsonl}}"
    path.write_text("\n".join(text))
    assert main(["run", str(path), "--out", out]) == 2
    place = f"{path}:4: workload: the longest request has 4032 tokens"
    assert f"llmbench: eager-r1 failed: {place}" in capsys.readouterr().err


def test_a_second_run_into_the_same_folder_is_refused(
    path: Path, out: str, capsys: Capture
) -> None:
    assert main(["run", str(path), "--out", out, "-q"]) == 0
    before = Path(out, "runset.json").read_bytes()
    assert main(["run", str(path), "--out", out, "-q"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert Path(out, "runset.json").read_bytes() == before


def test_a_dry_run_lists_the_runs_and_measures_nothing(
    path: Path, out: str, capsys: Capture
) -> None:
    overrides = ["--set", "repeats=2", "--dry-run", "--out", out]
    assert main(["run", str(path), *overrides]) == 0
    assert capsys.readouterr().out.split() == ["fake-r1", "fake-r2"]
    assert not Path(out).exists()


def test_quiet_prints_nothing(path: Path, out: str, capsys: Capture) -> None:
    assert main(["run", str(path), "--out", out, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_finished_runs_and_prints_how_to_resume(
    path: Path, out: str, number: int, code: int
) -> None:
    both = "backends=[fake, {kind: fake, name: endless, clock: real, prefill: 60 s}]"
    command = [sys.executable, "-m", "llmbench", "run", str(path), "--out", out, "--set", both]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if Path(out, "runs", "fake-r1").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        _, printed = process.communicate(timeout=30)
    assert process.returncode == code
    assert f"1 of 2 runs are kept; resume with\n  llmbench run --resume {out}" in printed
    assert "Traceback" not in printed
    assert psutil.wait_procs(family, timeout=10)[1] == []


def test_a_folder_that_another_process_measures_into_is_refused(
    path: Path, out: str, capsys: Capture
) -> None:
    assert main(["run", str(path), "--out", out, "-q"]) == 0
    with locked(Path(out)):
        assert main(["run", "--resume", out, "-q"]) == 2
    printed = capsys.readouterr().err
    assert f"{out}: process {os.getpid()} on " in printed
    assert "is measuring into it; wait until it has ended" in printed


def test_a_file_system_without_locks_is_no_obstacle_and_is_named(
    path: Path, out: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert main(["run", str(path), "--out", out, "-q"]) == 0
    expected = (
        f"llmbench: {out}: its file system has no locks (No locks available); make sure that "
    )
    assert capsys.readouterr().err.startswith(expected)


def on_a_terminal(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what a command writes to stderr where that is a terminal."""
    reader, writer = pty.openpty()
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # the end of a terminal that nobody writes to any more
            while data := os.read(reader, 65_536):
                shown.extend(data)

    reading = threading.Thread(target=read)
    reading.start()  # meanwhile: a full terminal would block
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(arguments) == 0
    monkeypatch.undo()
    reading.join()
    os.close(reader)
    return shown.decode()


def test_a_terminal_shows_progress(path: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = on_a_terminal(["run", str(path), "--out", out], monkeypatch)
    assert "all runs" in shown
    assert "fake, repeat 1" in shown


def test_a_pipe_gets_plain_lines_even_with_forced_colors(
    path: Path, out: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert main(["run", str(path), "--out", out]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_without_a_command_the_first_ones_to_type_are_printed(capsys: Capture) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "  llmbench run default " in printed[3]
    assert len(printed) <= 15
    assert max(map(len, printed)) <= 80


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("rum", "no command named 'rum'; did you mean 'run'? All commands: llmbench --help"),
        ("zzz", "no command named 'zzz'. All commands: llmbench --help"),
        ("chat.yaml", "'chat.yaml' is not a command; to measure it: llmbench run chat.yaml"),
    ],
)
def test_an_unknown_command_has_a_hint(first: str, message: str, capsys: Capture) -> None:
    assert main([first]) == 2
    assert capsys.readouterr().err == f"llmbench: {message}\n"


def test_shipped_scenarios_are_listed_by_name_and_own_ones_by_path(
    path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    Path("scenarios").mkdir()
    path.rename("scenarios/mine.yaml")
    assert main(["list", "scenarios", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["scenarios"]
    assert listed["scenarios/mine.yaml"] == "A simulated server."
    assert listed["default"].startswith("Eager PyTorch and torch.compile")


def test_shipped_scenarios_are_listed_once_in_a_checkout(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shipped.folder().parent)
    assert main(["list", "scenarios", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["scenarios"]) == shipped.names()


def test_the_schema_is_json_with_every_backend(capsys: Capture) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    kinds = schema["properties"]["backends"]["items"]["discriminator"]["mapping"]
    assert {"eager", "compiled", "fake"} <= kinds.keys()


def test_a_list_has_parts_with_a_sentence_each(capsys: Capture) -> None:
    assert main(["list", "backends", "--json"]) == 0
    backends = json.loads(capsys.readouterr().out)["backends"]
    assert backends["fake"].startswith("A simulated server")


def test_everything_can_be_listed(
    path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "scenarios" in printed
    assert "builtin:tiny" in printed


def test_results_and_scenarios_of_a_folder_are_listed(
    path: Path, out: str, capsys: Capture
) -> None:
    main(["run", str(path), "--out", out, "-q"])
    assert main(["list", "results", "--folder", str(path.parent), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"] == {out: "1 of 1 run, simulated"}
    (path.parent / "broken.yaml").write_text("name: x")
    assert main(["list", "scenarios", "--folder", str(path.parent), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["scenarios"]
    assert listed[str(path)] == "A simulated server."
    assert listed[str(path.parent / "broken.yaml")].startswith("invalid:")


def test_the_doctor_prints_the_machine_as_json(capsys: Capture) -> None:
    assert main(["doctor", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["cpu"]["logical_cores"] > 0
    assert isinstance(printed["advice"], list)


def test_the_doctor_prints_what_is_missing_and_how_to_install_it(capsys: Capture) -> None:
    assert main(["doctor"]) == 0
    assert "pip install 'llmbench[" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize(
    "command", ["run", "init", "open", "report", "list", "doctor", "schema", "export", "serve"]
)
def test_help_has_examples(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"llmbench {command}" in capsys.readouterr().out.partition("example")[2]
