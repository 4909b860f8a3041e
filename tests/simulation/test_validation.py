"""Predictions of loads that a fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from known_steps import Known
from simulated_loads import Service, case, queued

from llmbench.analysis.metrics import RecordArrays
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.simulation import validation
from llmbench.simulation.draws import Noise
from llmbench.simulation.step_times import StepModel
from llmbench.simulation.validation import (
    Predicted,
    Scaled,
    Validation,
    predicted,
    typical,
    validate,
)


@pytest.fixture(autouse=True)
def _one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, all draws are alike."""
    monkeypatch.setattr(validation, "FEWEST_SIMULATED", 1)


def measured(rate: float, seconds: float = 0.25, repeat: int = 1, requests: int = 700) -> Run:
    """A run in which nobody waits."""
    return queued(case(rate, requests=requests), Service(seconds), 1, repeat)


def mean_service(runs: Sequence[Run]) -> StepModel:
    times = np.concatenate([RecordArrays(run.records).e2e for run in runs])
    return Service(float(times.mean()))


def validated(*runs: Run) -> Validation:
    return validate(runs, mean_service, queued)


def test_equal_step_times_at_all_loads_are_predicted_exactly() -> None:
    validation = validated(measured(1.0), measured(2.0), measured(3.0))
    assert validation.way == "load"
    assert [part.label for part in validation.held_out] == ["1/s", "2/s", "3/s"]
    assert validation.largest_error == pytest.approx(0.0, abs=1e-12)
    assert validation.spread == pytest.approx(0.0, abs=1e-12)


def test_a_load_is_predicted_from_the_others_only() -> None:
    validation = validated(measured(1.0), measured(2.0), measured(3.0, seconds=0.3))
    third = {figure.metric: figure for figure in validation.held_out[2].figures}
    assert third["ttft_p50"].measured == pytest.approx(0.3)
    assert third["ttft_p50"].predicted == pytest.approx(0.25)
    assert third["ttft_p50"].error == pytest.approx(-1 / 6)
    assert third["ttft_p50"].factor == pytest.approx(1.2, rel=1e-3)


def test_requests_of_repeats_count_together() -> None:
    validation = validated(measured(1.0), measured(1.0, repeat=2), measured(2.0))
    first = validation.held_out[0]
    assert (first.runs, first.figures[0].n) == (2, 1400)


def test_percentiles_of_repeats_have_a_geometric_mean() -> None:
    runs = [measured(1.0, seconds=0.2), measured(1.0, seconds=0.45, repeat=2)]
    value, _ = typical([run.records for run in runs])["ttft_p99"]
    assert value == pytest.approx(0.3)


def test_runs_of_a_load_are_simulated_several_times_with_noise_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(validation, "FEWEST_SIMULATED", 5)
    simulated: list[tuple[int, Noise]] = []

    def noting(case: Case, model: StepModel, replicas: int, repeat: int) -> Run:
        (noise,) = model.noises(np.random.default_rng(), replicas)
        simulated.append((repeat, noise))
        return queued(case, Service(0.25), replicas, repeat)

    predicted([measured(1.0), measured(1.0, repeat=2)], Known(), noting)
    assert [repeat for repeat, _ in simulated] == [1, 2, 1, 2, 1, 2]
    assert len({id(noise.decode) for _, noise in simulated}) == 6


def test_repeats_of_a_single_load_are_held_out_instead() -> None:
    validation = validated(*(measured(2.0, repeat=repeat) for repeat in (1, 2, 3)))
    assert validation.way == "repeat"
    assert [part.label for part in validation.held_out] == ["repeat 1", "repeat 2", "repeat 3"]


def test_a_single_run_cannot_be_held_out() -> None:
    validation = validated(measured(2.0))
    assert validation.way == "none"
    assert validation.largest_error is None
    assert validation.spread == 0.0


def test_percentiles_of_few_requests_do_not_count() -> None:
    validation = validated(measured(1.0, requests=200), measured(2.0, seconds=0.3, requests=200))
    assert {figure.metric for figure in validation.supported} == {"ttft_p50", "e2e_p50"}
    p99 = next(f for f in validation.held_out[0].figures if f.metric == "ttft_p99")
    assert (p99.n, p99.is_supported) == (200, False)


def test_a_factor_beyond_those_simulated_is_continued_in_proportion() -> None:
    validation = validated(measured(1.0, seconds=0.2), measured(2.0, seconds=0.4))
    assert validation.held_out[1].figures[0].factor == pytest.approx(2.0, rel=1e-3)


def test_a_factor_is_small_where_latencies_are_sensitive() -> None:
    near = [measured(3.9, requests=2000), measured(4.0, seconds=0.2525, requests=2000)]
    figures = validated(measured(1.0, requests=2000), *near).held_out[2].figures
    worst = next(figure for figure in figures if figure.metric == "e2e_p99")
    assert worst.error < -0.5  # a queue that grows was not predicted
    assert 1.0 < worst.factor < 1.05


def test_a_factor_is_at_most_the_error_where_latencies_are_insensitive() -> None:
    def insensitive(case: Case, model: StepModel, replicas: int, repeat: int) -> Run:
        del model
        return queued(case, Service(0.25), replicas, repeat)

    runs = [measured(1.0), measured(2.0, seconds=0.26)]
    validation = validate(runs, mean_service, insensitive)
    assert validation.held_out[1].figures[0].factor == pytest.approx(1.04, rel=1e-3)


def test_the_spread_is_the_root_mean_square_of_the_logarithms_of_the_factors() -> None:
    validation = validated(measured(1.0), measured(2.0), measured(3.0, seconds=0.3))
    logs = [np.log(figure.factor) for figure in validation.supported]
    assert validation.spread == pytest.approx(np.sqrt(np.mean(np.square(logs))))
    assert validation.spread > 0.05


def test_the_largest_error_is_signed() -> None:
    assert Predicted("ttft_p50", 1.0, 0.5, 100, 2.0).error == -0.5
    validation = validated(measured(1.0), measured(2.0, seconds=0.3))
    assert validation.largest_error == pytest.approx(0.2)  # of the first, predicted by the second


def test_a_scaled_model_takes_longer_in_every_step() -> None:
    scaled = Scaled(Service(0.25), 2.0)
    assert scaled.prefill_seconds(4) == 0.5
    assert scaled.decode_seconds(2, 10) == 0.0
    assert scaled.of(4).prefill_seconds(4) == 0.5
    assert scaled.prefill_tokens == 1
