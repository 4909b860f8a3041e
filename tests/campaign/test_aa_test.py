"""Repeated checks whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from campaign.test_gate import SCENARIO, Simulated

from llmbench.campaign import aa_test, gate
from llmbench.campaign.aa_test import Rate, Repetition
from llmbench.campaign.observer import SilentObserver
from llmbench.errors import InputError
from llmbench.scenario import file as scenario_file
from llmbench.scenario.file import Source


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "gated.yaml"
    path.write_text(SCENARIO)
    return scenario_file.load(path)


@pytest.fixture(autouse=True)
def few_draws(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Resample few checks, but in slow tests."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(aa_test, "RESAMPLED_CHECKS", 20)


def repetition(source: Source, seed: int, delay: float = 0.0) -> Repetition:
    baseline, candidate = Simulated(seed=seed), Simulated(seed=1000 + seed, factor=1 + delay)
    return Repetition(delay, gate.check(source, baseline, candidate, SilentObserver()))


def test_checks_without_and_with_a_change_are_counted_separately(source: Source) -> None:
    findings = aa_test.findings(
        source, [repetition(source, n, delay) for n in range(5) for delay in (0.0, 0.1)]
    )
    assert (findings.nights[0.0].hits, findings.nights[0.0].trials) == (0, 5)
    assert (findings.nights[0.1].hits, findings.nights[0.1].trials) == (5, 5)
    assert findings.comparisons[0.1].trials == 10  # two cases of one metric
    called = findings.cases["fake"]["ttft_p50"].called[0.1]
    assert (called.hits, findings.cases["other"]["ttft_p50"].called[0.1].hits) == (5, 0)


def test_checks_that_stay_undecided_are_counted(source: Source) -> None:
    baseline, candidate = Simulated(seed=1, noise=0.2), Simulated(factor=1.15, seed=5, noise=0.2)
    undecided = Repetition(0.0, gate.check(source, baseline, candidate, SilentObserver()))
    findings = aa_test.findings(source, [undecided, repetition(source, 1)])
    assert (findings.nights[0.0].hits, findings.undecided[0.0].hits) == (0, 1)


def test_noise_that_both_processes_of_a_pair_share_does_not_count(source: Source) -> None:
    shared = [
        gate.check(
            source, Simulated(seed=n, noise=0.1), Simulated(seed=n, noise=0.1), SilentObserver()
        )
        for n in range(3)
    ]
    findings = aa_test.findings(source, [Repetition(0.0, check) for check in shared])
    assert findings.cases["fake"]["ttft_p50"].noise == 0


def test_the_noise_between_adjacent_processes_is_recovered(source: Source) -> None:
    findings = aa_test.findings(source, [repetition(source, n) for n in range(30)])
    noise = findings.cases["fake"]["ttft_p50"]
    assert noise.processes == 2 * 4 * 30
    assert noise.noise == pytest.approx(0.01, rel=0.25)  # what Simulated draws
    assert noise.floor == 2 * noise.noise


@pytest.mark.slow
def test_twice_the_processes_detect_no_larger_a_change(source: Source) -> None:
    least = aa_test.findings(source, [repetition(source, n) for n in range(20)]).cases["fake"][
        "ttft_p50"
    ]
    eight, sixteen = least.detectable[8], least.detectable[16]
    assert eight is not None
    assert sixteen is not None
    assert 0.03 < sixteen <= eight <= 0.08


def test_a_rate_has_its_interval() -> None:
    assert str(Rate.of([False] * 60)) == "0 of 60 (0.0 to 6.0 %)"
    assert str(Rate.of([True, False] * 50)) == "50 of 100 (40.4 to 59.6 %)"


def test_a_rate_needs_a_trial() -> None:
    with pytest.raises(ValueError, match="not less than 1"):
        Rate.of([])


def test_floors_are_read_from_what_was_written(source: Source, tmp_path: Path) -> None:
    findings = aa_test.findings(source, [repetition(source, n) for n in range(3)])
    path = tmp_path / "noise.json"
    path.write_text(json.dumps(findings.as_json()))
    hardware, floors = aa_test.read_floors(path)
    assert hardware["cpu.model"] == "A"
    assert floors["fake"]["ttft_p50"] == findings.cases["fake"]["ttft_p50"].floor


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "another"}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "noise.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"noise\.json:.*; give a file that `llmbench aa` wrote"):
        aa_test.read_floors(path)


def test_a_floor_raises_a_tolerance_and_lowers_none(source: Source) -> None:
    floors = {"fake": {"ttft_p50": 0.2}, "other": {"ttft_p50": 0.001}}
    comparison = gate.check(
        source, Simulated(), Simulated(factor=1.1, seed=2), SilentObserver(), floors
    )
    tolerances = {case.case: case.verdicts["ttft_p50"].tolerance for case in comparison.cases}
    assert tolerances == {"fake": 0.2, "other": 0.03}
    assert comparison.cases[0].verdicts["ttft_p50"].outcome == "equivalent"
