"""The gate: screening, confirmation, and what it cannot decide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.analysis.compare import judge
from llmbench.analysis.compare.comparison import Comparison
from llmbench.analysis.metrics import Value, summarize
from llmbench.campaign import gate
from llmbench.campaign.observer import Observer, SilentObserver
from llmbench.errors import InputError
from llmbench.runs.run import Failure, PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source

SCENARIO = """\
name: gated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: closed
requests: 20
backends: [fake, {kind: fake, name: other}]
gate: {metrics: {ttft_p50: 0.03}}
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "gated.yaml"
    path.write_text(SCENARIO)
    return scenario_file.load(path)


@dataclass
class Simulated:
    """A side whose processes have a TTFT of ``base``, with noise, times ``factor`` for one case."""

    factor: float = 1.0
    noise: float = 0.01
    seed: int = 0
    slow_case: str = "fake"
    cpu: str = "A"
    fails: bool = False
    drift: float = 0.0
    run_set: RunSet = field(
        default_factory=lambda: RunSet(Path("x"), "x", "", "", "", (), {}, (), ())
    )
    order: list[tuple[str, int]] = field(default_factory=list)

    def measure(self, case: Case, repeat: int, observer: Observer) -> None:  # noqa: ARG002 (there is no progress)
        planned = PlannedRun(case, repeat)
        self.order.append((case.name, repeat))
        run = self._run(case, repeat)
        plan, runs = (*self.run_set.plan, planned), (*self.run_set.runs, run)
        self.run_set = replace(self.run_set, plan=plan, runs=runs)

    def _run(self, case: Case, repeat: int) -> Run:
        rng = np.random.default_rng([self.seed, repeat, len(case.name)])
        slower = self.factor if case.name == self.slow_case else 1.0
        moved = 1 + self.drift * (repeat % 2)
        ttft = 0.1 * slower * moved * float(np.exp(rng.normal(0, self.noise)))
        return Run(
            case, repeat, "2026-01-01T00:00:00+00:00",
            summary={"ttft_p50": (ttft, 20)},
            environment={"cpu": {"model": self.cpu}},
            failure=Failure("error", "broken") if self.fails else None,
        )  # fmt: skip


def check(source: Source, baseline: Any, candidate: Any) -> Comparison:
    return gate.check(source, baseline, candidate, SilentObserver())


def outcomes(comparison: Comparison) -> dict[str, str]:
    return {case.case: case.verdicts["ttft_p50"].outcome for case in comparison.cases}


def test_a_change_is_confirmed_by_new_processes(source: Source) -> None:
    baseline, candidate = Simulated(seed=1), Simulated(factor=1.1, seed=2)
    assert outcomes(check(source, baseline, candidate))["fake"] == "regression"
    assert candidate.order.count(("fake", 5)) == 1  # a process that the screen did not see


def test_cases_that_are_not_suspected_are_not_measured_again(source: Source) -> None:
    candidate = Simulated(factor=1.1, seed=2)
    check(source, Simulated(seed=1), candidate)
    assert max(repeat for case, repeat in candidate.order if case == "other") == 4


def test_every_run_is_summarized_once(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    summarized: list[tuple[float, str]] = []

    def counted(run: Run) -> dict[str, Value]:
        summarized.append((id(run), run.name))
        return summarize(run)

    monkeypatch.setattr(judge, "summarize", counted)
    comparison = check(source, Simulated(seed=1), Simulated(factor=1.1, seed=2))
    runs = (*comparison.baseline.runs, *comparison.candidate.runs)
    assert sorted(summarized) == sorted((id(run), run.name) for run in runs)


def test_equal_sides_give_no_regression(source: Source) -> None:
    for seed in range(30):
        comparison = check(source, Simulated(seed=seed), Simulated(seed=100 + seed))
        assert "regression" not in outcomes(comparison).values()


def test_both_sides_take_turns_at_going_first(source: Source) -> None:
    log: list[str] = []

    @dataclass
    class Logged(Simulated):
        name: str = ""

        def measure(self, case: Case, repeat: int, observer: Observer) -> None:
            log.append(self.name)
            super().measure(case, repeat, observer)

    check(source, Logged(seed=1, name="A"), Logged(seed=2, name="B"))
    firsts = log[::2]
    assert firsts.count("A") == firsts.count("B")


def test_a_suspicion_that_new_processes_do_not_confirm_is_no_regression(source: Source) -> None:
    class Unlucky(Simulated):
        def _run(self, case: Case, repeat: int) -> Run:
            self.factor = 1.2 if repeat <= 4 else 1.0
            return super()._run(case, repeat)

    comparison = check(source, Simulated(seed=1), Unlucky(seed=2))
    assert outcomes(comparison)["fake"] in ("inconclusive", "equivalent")


def test_where_the_baseline_moves_as_well_the_outcome_is_environment(source: Source) -> None:
    baseline = Simulated(seed=1, drift=-0.2)
    comparison = check(source, baseline, Simulated(factor=1.5, seed=2))
    assert outcomes(comparison)["fake"] == "environment"


def test_a_candidate_on_other_hardware_is_not_comparable(source: Source) -> None:
    comparison = check(source, Simulated(seed=1), Simulated(seed=2, cpu="B"))
    verdict = comparison.cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "not comparable"
    assert "cpu.model: A → B" in verdict.reason


def test_a_candidate_that_cannot_be_measured_is_missing(source: Source) -> None:
    comparison = check(source, Simulated(seed=1), Simulated(fails=True))
    assert set(comparison.missing) == {"fake", "other"}
    assert "the candidate has no measured run" in comparison.cases[0].verdicts["ttft_p50"].reason


def test_a_stored_baseline_is_not_measured_again(source: Source) -> None:
    measured = Simulated(seed=1)
    for case in source.cases:
        for repeat in range(1, 7):
            measured.measure(case, repeat, SilentObserver())
    stored = gate.StoredSide(measured.run_set)
    comparison = check(source, stored, Simulated(factor=1.1, seed=2))
    assert outcomes(comparison) == {"fake": "regression", "other": outcomes(comparison)["other"]}


def test_the_old_spelling_of_a_gated_metric_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.replace("{ttft_p50: 0.03}", "{ttft_seconds_p50: 0.03}"))
    assert gate.tolerances_of(scenario_file.load(path).cases[0]) == {"ttft_p50": 0.03}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("{tftt_p50: 0.1}", "no metric 'tftt_p50'"),
        ("{makespan_seconds: 0.1}", "no better direction"),
    ],
)
def test_a_metric_that_cannot_be_gated_is_refused(
    tmp_path: Path, metrics: str, message: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SCENARIO.replace("{ttft_p50: 0.03}", metrics))
    with pytest.raises(InputError, match=message):
        gate.tolerances_of(scenario_file.load(path).cases[0])
