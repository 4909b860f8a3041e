"""The gate: screening, confirmation, and what it cannot decide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.analysis.compare import judge, power
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

    def ttft(self, case: Case, repeat: int) -> float:
        rng = np.random.default_rng([self.seed, repeat, len(case.name)])
        slower = self.factor if case.name == self.slow_case else 1.0
        moved = 1 + self.drift * (repeat % 2)
        return 0.1 * slower * moved * float(np.exp(rng.normal(0, self.noise)))

    def _run(self, case: Case, repeat: int) -> Run:
        return Run(
            case, repeat, "2026-01-01T00:00:00+00:00",
            summary={"ttft_p50": (self.ttft(case, repeat), 20)},
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


def test_a_pair_is_measured_in_an_order_drawn_anew_for_every_check(source: Source) -> None:
    def log_of(began_at: str) -> list[tuple[str, int, str]]:
        log: list[tuple[str, int, str]] = []

        @dataclass
        class Logged(Simulated):
            name: str = ""

            def measure(self, case: Case, repeat: int, observer: Observer) -> None:
                log.append((case.name, repeat, self.name))
                super().measure(case, repeat, observer)

        candidate = Logged(seed=2, name="B")
        candidate.run_set = replace(candidate.run_set, began_at=began_at)
        check(source, Logged(seed=1, name="A"), candidate)
        return log

    log = log_of("1")
    assert all(one[:2] == other[:2] for one, other in zip(log[::2], log[1::2], strict=True))
    assert {side for *_, side in log[::2]} == {"A", "B"}
    assert log == log_of("1")  # so that a resumed check goes on in its order
    assert log != log_of("2")


def test_a_suspicion_that_new_processes_do_not_confirm_is_no_regression(source: Source) -> None:
    class Unlucky(Simulated):
        def _run(self, case: Case, repeat: int) -> Run:
            self.factor = 1.2 if repeat <= 4 else 1.0
            return super()._run(case, repeat)

    comparison = check(source, Simulated(seed=1), Unlucky(seed=2))
    assert outcomes(comparison)["fake"] in ("inconclusive", "equivalent")


def test_a_machine_that_changes_from_repeat_to_repeat_hides_no_regression(source: Source) -> None:
    baseline, candidate = (Simulated(factor=factor, seed=2, drift=-0.2) for factor in (1.0, 1.2))
    verdict = check(source, baseline, candidate).cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "regression"
    assert verdict.change is not None
    assert verdict.change.ratio == pytest.approx(1.2)


def test_a_suspected_regression_that_noise_hides_is_undecided(source: Source) -> None:
    baseline, candidate = Simulated(seed=1, noise=0.2), Simulated(factor=1.15, seed=5, noise=0.2)
    verdict = check(source, baseline, candidate).cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "undecided"
    assert "24 new processes neither confirm nor rule out a regression" in verdict.reason
    assert ("fake", 28) in candidate.order


def test_a_suspected_metric_without_a_new_value_is_undecided(source: Source) -> None:
    class Breaking(Simulated):
        def _run(self, case: Case, repeat: int) -> Run:
            self.fails = repeat > 4
            return super()._run(case, repeat)

    comparison = check(source, Simulated(seed=1), Breaking(factor=1.5, seed=2))
    verdict = comparison.cases[0].verdicts["ttft_p50"]
    assert (verdict.outcome, verdict.change) == ("undecided", None)
    assert "none was measured on both sides" in verdict.reason


@pytest.mark.parametrize("factor", [1.0, 1.04, 1.1, 1.3])
def test_simulated_checks_are_decided_by_the_same_rules(source: Source, factor: float) -> None:
    names = {"confirmed": "regression", "open": "undecided"}
    for seed in range(6):
        sides = [Simulated(noise=0.06, seed=s, factor=f) for s, f in ((seed, 1.0), (9, factor))]
        baseline, candidate = (
            [np.log([side.ttft(case, n) for n in range(1, 29)]) for case in source.cases]
            for side in sides
        )
        logs = list(zip(baseline, candidate, strict=True))
        simulated = [names.get(state, "passed") for state in power.outcomes(logs, 0.03)]
        found = outcomes(check(source, *sides)).values()
        assert [o if o in names.values() else "passed" for o in found] == simulated


def test_a_failed_process_drops_its_pair_alone(source: Source) -> None:
    class Failing(Simulated):
        def _run(self, case: Case, repeat: int) -> Run:
            self.fails = repeat == 7
            return super()._run(case, repeat)

    assert outcomes(check(source, Failing(seed=1), Simulated(factor=1.1, seed=2)))["fake"] == (
        "regression"
    )


def test_a_candidate_on_other_hardware_is_not_comparable(tmp_path: Path) -> None:
    path = tmp_path / "unlisted.yaml"
    path.write_text(SCENARIO.replace("gate: {metrics: {ttft_p50: 0.03}}\n", ""))
    sides = Simulated(seed=1), Simulated(seed=2, cpu="B")
    verdict = check(scenario_file.load(path), *sides).cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "not comparable"
    assert "cpu.model: A → B" in verdict.reason


def test_a_listed_metric_that_is_not_comparable_is_undecided(source: Source) -> None:
    comparison = check(source, Simulated(seed=1), Simulated(seed=2, cpu="B"))
    verdict = comparison.cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "undecided"
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
