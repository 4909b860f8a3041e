"""``llmbench meter`` attaches a wall meter's log to stored runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from llmbench.cli import main
from llmbench.report.frames import RunSet as Frames
from llmbench.report.results import Results
from llmbench.report.sections.environment import machine
from llmbench.runs import store
from llmbench.runs.run import CLOCK_ORIGIN

SCENARIO = """\
name: plugged
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: {kind: constant, rate: 50/s}
requests: 5
collect: []
backends: [{kind: fake, prefill: 1 ms, per_token: 1 ms, clock: real}]
"""
DOCS = Path(__file__).parent.parent.parent / "docs" / "meters.md"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, capsys: Capture) -> Path:
    """A run in real time, which has a time of day."""
    (tmp_path / "plugged.yaml").write_text(SCENARIO)
    folder = tmp_path / "results" / "..."
    assert main(["run", str(tmp_path / "plugged.yaml"), "--out", str(folder), "--quiet"]) == 0
    capsys.readouterr()
    return folder


@pytest.fixture
def log(folder: Path, tmp_path: Path) -> str:
    """100 W at 100 Hz, before, during and after that run."""
    (run,) = store.read(folder).runs
    begin = run.facts[CLOCK_ORIGIN] - 1
    lines = [f"{begin + i / 100:.3f},100,{i}" for i in range(1000)]
    path = tmp_path / "meter.csv"
    path.write_text("\n".join(["time,watts,total", *lines]))
    return str(path)


def test_readings_become_series_of_the_run_and_of_its_report(
    folder: Path, log: str, capsys: Capture
) -> None:
    before = (folder / "report.html").read_bytes()
    assert main(["meter", str(folder), log]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("attached wall_power_watts to 1 of 1 run\n")
    assert f"report   {folder / 'report.html'}" in printed
    assert (folder / "report.html").read_bytes() != before
    row = next(
        r for r in machine(Results(store.read(folder))).rows if r[0].note == "wall_power_watts"
    )
    assert [cell.text for cell in row[1:]] == ["100 W", "measured"]


def test_a_running_total_becomes_joules(folder: Path, log: str, capsys: Capture) -> None:
    more = ["--watts-column", "watts", "--energy-column", "total", "--energy-unit", "J", "--json"]
    assert main(["meter", str(folder), log, *more]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["series"] == ["wall_power_watts", "wall_energy_joules"]
    assert (printed["attached"], printed["left_out"]) == (["fake-r1"], {})
    frame = Frames.read(folder).series
    values = frame[frame["name"] == "wall_energy_joules"]["value"].tolist()
    assert values == [1.0 * i for i in range(len(values))]


def test_runs_that_are_left_out_are_printed(folder: Path, log: str, capsys: Capture) -> None:
    assert main(["meter", str(folder), log, "--max-gap", "0.001"]) == 2
    assert "fake-r1: has no reading for 0.01 s" in capsys.readouterr().err


def test_the_clock_of_a_meter_can_be_corrected(folder: Path, log: str, capsys: Capture) -> None:
    assert main(["meter", str(folder), log, "--offset", "-3600"]) == 2
    assert "does the meter's clock need a correction (--offset)" in capsys.readouterr().err
    assert main(["meter", str(folder), log, "--offset", "0.5"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--energy-column", "total"], "specify both --energy-column and --energy-unit"),
        (["--energy-unit", "J"], "specify both --energy-column and --energy-unit"),
        (["--utc-offset", "CET"], "--utc-offset CET: expected an offset"),
        (["--max-gap", "0"], "--max-gap 0: must be greater than 0 seconds"),
        (["--time-column", "Time"], "no column 'Time'; did you mean 'time'?"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(
    folder: Path, log: str, capsys: Capture, arguments: list[str], message: str
) -> None:
    assert main(["meter", str(folder), log, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_simulated_run_has_no_time_of_day(folder: Path, log: str, capsys: Capture) -> None:
    simulated = folder.parent / "simulated"
    scenario = str(folder.parent.parent / "plugged.yaml")
    assert main(["run", scenario, "--out", str(simulated), "-q", "--set", "backends=[fake]"]) == 0
    assert main(["meter", str(simulated), log]) == 2
    assert "its time was simulated" in capsys.readouterr().err


def test_the_frames_of_the_docs_have_the_power(
    folder: Path, log: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert main(["meter", str(folder), log]) == 0
    capsys.readouterr()
    (example,) = re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(folder.parent.parent)
    exec(example, {})  # noqa: S102 (our own docs)
    assert re.search(r"fake\s+1\s+100\.0", capsys.readouterr().out)
