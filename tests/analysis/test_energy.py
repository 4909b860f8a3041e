"""The energy of a run, computed from series with known energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.energy import counter_energies, energy_metrics
from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

WINDOW = (10.0, 50.0)
UUID = {"method": "nvml-counter", "uuid": "GPU-1", "polled_seconds": 0.02, "unavailable": None}


def counter(
    watts: float = 300.0, period: float = 0.1, until: float = 60.0, name: str = "gpu0"
) -> Series:
    times = np.arange(0.0, until, period)
    return Series.measured(f"{name}_energy_joules", "J", times, watts * times)


def power(watts: float = 300.0, until: float = 60.0, name: str = "gpu0") -> Series:
    times = np.arange(0.0, until, 0.1)
    values = np.full(len(times), watts)
    return Series.measured(f"{name}_power_instant_watts", "W", times, values)


def run_with(*series: Series, spec: dict[str, Any] | None = None, **facts: Any) -> Run:
    stored = facts or {"gpu0": UUID}
    return Run(
        Case("c", "c", "eager", {}, spec or {}), 1, "", series=series, facts={"energy": stored}
    )


def counts(begin: float, end: float) -> tuple[int, float, int]:
    """Ten output tokens, thirty tokens and a request every second."""
    seconds = end - begin
    return round(10 * seconds), 30 * seconds, round(seconds)


def reason(run: Run, window: tuple[float, float] | None = WINDOW) -> str:
    energy = energy_metrics(run, window, counts)["energy_joules_per_output_token"]
    assert (energy.value, energy.n) == (None, 0)
    return str(energy.reason)


def test_the_window_of_an_energy_begins_and_ends_at_a_rise_of_the_counter() -> None:
    (part,) = counter_energies(run_with(counter(period=0.7), power()), WINDOW)
    assert WINDOW[0] <= part.begin < WINDOW[0] + 0.7
    assert WINDOW[1] - 0.7 <= part.end < WINDOW[1]
    assert part.joules == pytest.approx(300 * part.seconds)


@given(st.floats(0.01, 0.3), st.floats(20.0, 700.0))
def test_a_steady_power_is_recovered_whatever_the_period(period: float, watts: float) -> None:
    values = energy_metrics(run_with(counter(watts, period)), WINDOW, counts)
    assert values["energy_power_watts"].value == pytest.approx(watts)


def test_joules_are_divided_by_the_tokens_and_requests_of_their_window() -> None:
    values = energy_metrics(run_with(counter(), power()), WINDOW, counts)
    assert values["energy_joules_per_output_token"].value == pytest.approx(30, rel=0.01)
    assert values["energy_joules_per_total_token"].value == pytest.approx(10, rel=0.01)
    assert values["energy_joules_per_request"].value == pytest.approx(300, rel=0.03)


def test_energies_of_several_devices_are_summed() -> None:
    run = run_with(counter(300), counter(100, name="gpu1"), gpu0=UUID, gpu1=UUID)
    assert energy_metrics(run, WINDOW, counts)["energy_power_watts"].value == pytest.approx(400)


def test_a_counter_that_goes_back_is_invalid() -> None:
    whole = counter()
    values = whole.values.copy()
    values[300:] -= values[300]
    assert "counter_reset" in reason(run_with(replace(whole, values=values)))


def test_a_device_that_disappears_has_no_energy_and_its_last_error_as_the_reason() -> None:
    facts = {**UUID, "failed_readings": {"NVML: GPU is lost": 900}}
    message = reason(run_with(counter(until=30.0), gpu0=facts))
    assert "sampling_gap" in message
    assert "GPU is lost" in message


def test_a_counter_and_a_power_that_disagree_are_invalid() -> None:
    assert "cross_check_failed" in reason(run_with(counter(300), power(250)))


def test_a_small_disagreement_is_kept_with_the_energy() -> None:
    (part,) = counter_energies(run_with(counter(300), power(279)), WINDOW)
    assert part.disagreement == pytest.approx(0.07)


def test_without_a_sampled_power_a_counter_is_unverified() -> None:
    (part,) = counter_energies(run_with(counter()), WINDOW)
    assert part.disagreement is None


def test_a_power_with_a_gap_verifies_nothing() -> None:
    whole = power()
    kept = (whole.times <= 20) | (whole.times >= 25)
    gapped = replace(whole, times=whole.times[kept], values=whole.values[kept])
    (part,) = counter_energies(run_with(counter(), gapped), WINDOW)
    assert part.disagreement is None


def test_a_card_whose_counter_does_not_rise_has_no_energy() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "no reading succeeded during this run")
    assert "zero_delta" in reason(run_with(silent))


def test_a_card_without_a_counter_makes_the_energy_unavailable() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "NVML: Not Supported")
    facts = {**UUID, "unavailable": "NVML: Not Supported"}
    rapl = {"method": "rapl", "unavailable": None, "polled_seconds": 0.02}
    run = run_with(silent, counter(60, name="package0"), gpu0=facts, package0=rapl)
    assert reason(run) == "gpu0: NVML: Not Supported"


def test_on_a_machine_without_a_card_the_processors_energy_counts() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "no NVIDIA driver")
    rapl = {"method": "rapl", "unavailable": None, "polled_seconds": 0.02}
    nothing = {"method": "nvml-counter", "unavailable": "no NVIDIA driver"}
    run = run_with(silent, counter(60, name="package0"), gpu0=nothing, package0=rapl)
    assert energy_metrics(run, WINDOW, counts)["energy_power_watts"].value == pytest.approx(60)


def test_where_no_counter_can_be_read_the_reasons_are_given() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "no NVIDIA driver")
    nothing = {"method": "nvml-counter", "unavailable": "no NVIDIA driver"}
    assert reason(run_with(silent, gpu0=nothing)) == "no NVIDIA driver"


def test_a_run_that_did_not_collect_energy_says_so() -> None:
    assert reason(run_with()) == "the scenario does not collect `energy`"


def test_without_a_steady_window_there_is_no_energy() -> None:
    assert "no steady window" in reason(run_with(counter()), None)


def test_a_wall_meter_counts_alone() -> None:
    times = np.arange(0.0, 60.0, 1.0)
    wall = Series.measured("wall_power_watts", "W", times, np.full(60, 500.0))
    run = run_with(counter(300), wall)
    assert energy_metrics(run, WINDOW, counts)["energy_power_watts"].value == pytest.approx(500)


def test_energy_is_not_divided_by_an_unknown_or_zero_count() -> None:
    values = energy_metrics(run_with(counter()), WINDOW, lambda *_: (0, float("nan"), 0))
    for key in ("energy_joules_per_output_token", "energy_joules_per_total_token"):
        assert values[key].value is None
        assert "no tokens or requests were completed" in str(values[key].reason)


def test_cost_and_co2_use_only_the_users_factors() -> None:
    spec = {"energy": {"price_per_kwh": 0.36, "grams_co2_per_kwh": 360}}
    values = energy_metrics(run_with(counter(), spec=spec), WINDOW, counts)
    joules = values["energy_joules_per_output_token"].value
    assert joules is not None
    assert values["energy_cost_per_million_output_tokens"].value == pytest.approx(joules / 10)
    assert values["carbon_grams_per_million_output_tokens"].value == pytest.approx(100 * joules)
    without = energy_metrics(run_with(counter()), WINDOW, counts)
    assert "price_per_kwh" in str(without["energy_cost_per_million_output_tokens"].reason)


def test_idle_power_and_the_energy_of_the_run_come_from_the_idle_time_around_the_load() -> None:
    facts = {**UUID, "idle_watts": 61.0, "run_joules": 5000.0}
    values = energy_metrics(run_with(counter(), gpu0=facts), WINDOW, counts)
    assert values["energy_idle_watts"].value == 61.0
    assert values["energy_run_joules"].value == 5000.0


def test_without_idle_time_there_is_no_idle_power() -> None:
    idle = energy_metrics(run_with(counter()), WINDOW, counts)["energy_idle_watts"]
    assert idle.value is None
    assert "idle" in str(idle.reason)


def test_unavailable_parts_raise_with_the_reason() -> None:
    with pytest.raises(Unavailable, match="does not collect"):
        counter_energies(run_with(), WINDOW)
