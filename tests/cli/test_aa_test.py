"""``llmbench aa`` through the whole pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmbench.cli import main

SCENARIO = """\
name: nights
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: closed
requests: 20
backends: [{kind: fake, service: constant}]
gate: {metrics: {e2e_p50: 0.03}}
"""


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "nights.yaml"
    path.write_text(SCENARIO)
    return str(path)


@pytest.mark.slow
@pytest.mark.processes
def test_a_delay_is_a_regression_and_no_change_is_not(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "aa"
    arguments = ["aa", scenario, "--nights", "1", "--delays", "10", "--out", str(out)]
    assert main([*arguments, "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert [findings["nights"][delay]["hits"] for delay in ("0.0", "0.1")] == [0, 1]
    assert findings["cases"]["fake"]["e2e_p50"]["noise"] == pytest.approx(0, abs=1e-9)
    assert json.loads((out / "noise.json").read_text()) == findings
    assert main(arguments) == 0  # nothing is measured again
    assert "Steps 10 % slower: a regression in 1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize("delays", ["fast", "-5", "0", "5;10"])
def test_invalid_delays_are_refused(
    scenario: str, delays: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["aa", scenario, f"--delays={delays}"]) == 2
    assert "expected percentages such as 5,10" in capsys.readouterr().err


def test_an_endpoint_cannot_be_slowed(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = "backends=[{kind: endpoint, url: 'http://localhost:1'}]"
    assert main(["aa", scenario, "--delays", "5", "--set", endpoint]) == 2
    assert "an endpoint, whose steps cannot be slowed" in capsys.readouterr().err
