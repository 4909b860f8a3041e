"""Step times fitted to runs with known ones."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from known_steps import Known, case, measured
from numpy.typing import NDArray

from llmbench.analysis.metrics import summarize
from llmbench.errors import InputError
from llmbench.simulation.draws import Noise
from llmbench.simulation.simulate import simulate
from llmbench.simulation.step_times import IN_PROCESS, StepTimes, fit

RATES = (5, 20, 50)


def fitted(model: Known) -> StepTimes:
    loads = [{"kind": "poisson", "rate": rate} for rate in RATES]
    return fit([measured(case(load=load, requests=300), model) for load in loads])


def of_all(step_times: StepTimes, stream: str) -> list[float]:
    """The values of all engines."""
    return [value for engine in step_times.variations for value in getattr(engine, stream)]


def test_known_step_times_are_found() -> None:
    step_times, known = fitted(Known()), Known()
    for rows in (1, 3, 8):
        assert step_times.decode_seconds(rows, 40 * rows) == pytest.approx(
            known.decode_seconds(rows, 40 * rows), rel=1e-3
        )
    for tokens in (8, 30, 64):
        assert step_times.prefill_seconds(tokens) == pytest.approx(
            known.prefill_seconds(tokens), rel=1e-2
        )


def test_fitted_and_measured_times_have_one_sum() -> None:
    step_times = fitted(Known(spread=0.5))
    assert np.mean(of_all(step_times, "decode")) == pytest.approx(1, abs=0.01)
    assert step_times.fit.residuals["decode"].rms == pytest.approx(0.5 / np.sqrt(3), rel=0.05)


def test_outliers_do_not_dominate_and_stay_in_the_factors() -> None:
    run = measured(case(requests=300), Known())
    step_times = fit([run])
    slow = measured(case(requests=300), Slow())
    with_outliers = fit([slow])
    ratio = with_outliers.decode_seconds(2, 80) / step_times.decode_seconds(2, 80)
    assert ratio == pytest.approx(np.mean([10] + [1] * 49), rel=0.05)
    assert max(of_all(with_outliers, "decode")) == pytest.approx(10 / ratio, rel=0.05)


class Slow(Known):
    """One step in 50 takes ten times as long."""

    def noise(self, rng: np.random.Generator) -> Noise:
        steps = count(1)

        def factors(size: int) -> NDArray[np.float64]:
            return np.array([1.0 if next(steps) % 50 else 10.0 for _ in range(size)])

        return super().noise(rng)._replace(decode=factors)


class Spells(Known):
    """Every other 300 decode steps take twice as long."""

    def noise(self, rng: np.random.Generator) -> Noise:
        steps = count()

        def factors(size: int) -> NDArray[np.float64]:
            return np.array([2.0 if next(steps) // 300 % 2 else 1.0 for _ in range(size)])

        return super().noise(rng)._replace(decode=factors)


def test_slow_spells_do_not_make_steps_of_many_sequences_slow() -> None:
    loads = [{"kind": "poisson", "rate": rate} for rate in (20, 40)]
    step_times = fit([measured(case(load=load, requests=500), Spells()) for load in loads])

    def of_many(model: StepTimes | Known) -> float:
        return model.decode_seconds(8, 320) / model.decode_seconds(1, 40)

    assert of_many(step_times) == pytest.approx(of_many(Known()), rel=0.1)


class Sleepy(Known):
    """Prefill steps after a wait take 1.5 times as long."""

    def noise(self, rng: np.random.Generator) -> Noise:
        return super().noise(rng)._replace(wake=lambda size: np.full(size, 1.5))


def test_prefill_steps_after_a_wait_have_factors_of_their_own() -> None:
    step_times = fitted(Sleepy())
    assert step_times.prefill_seconds(30) == pytest.approx(Known().prefill_seconds(30), rel=0.02)
    assert np.mean(of_all(step_times, "wake")) == pytest.approx(1.5, rel=0.02)
    low = case(load={"kind": "poisson", "rate": 4}, requests=500)
    predicted = summarize(simulate(low, step_times, replicas=1))
    actual = summarize(measured(low, Sleepy()))
    assert predicted["ttft_p50"].value == pytest.approx(actual["ttft_p50"].value, rel=0.03)


def test_a_simulation_predicts_a_load_that_was_not_fitted() -> None:
    known = Known(spread=0.3, lag=0.0005)
    step_times = fitted(known)
    held_out = case(load={"kind": "poisson", "rate": 35}, requests=2000)
    predicted = summarize(simulate(held_out, step_times, replicas=1))
    actual = summarize(measured(held_out, known))
    for metric in ("ttft_p50", "ttft_p99", "e2e_p50", "e2e_p99"):
        assert predicted[metric].value == pytest.approx(actual[metric].value, rel=0.1)


def test_numbers_of_replicas_are_fitted_apart() -> None:
    alone = measured(case(), Known())
    pair = measured(case(replicas=2), Known(), replicas=2)
    step_times = fit([pair, alone])
    assert step_times.fit.replicas == IN_PROCESS
    assert [step_times.of(count).fit.replicas for count in (0, 1, 2, 5)] == [0, 0, 2, 2]


def test_ranges_say_what_is_outside() -> None:
    step_times = fitted(Known())
    assert step_times.check(tokens=30, rows=8, depth=100) == ()
    (reason,) = step_times.check(rows=9)
    assert reason == "9 sequences per decode step are outside the measured range of 1 to 8"


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(InputError, match="100 of each kind are needed"):
        fit([measured(case(requests=5), Known())])


def test_no_runs_are_refused() -> None:
    with pytest.raises(InputError, match="no run to fit"):
        fit([])
