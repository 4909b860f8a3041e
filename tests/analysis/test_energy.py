"""What energy counters amount to, from series whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.energy import figures, parts
from llmbench.errors import Unavailable
from llmbench.runs.record import Series
from llmbench.runs.run import Run

WINDOW = (10.0, 50.0)
UUID = {"method": "nvml-counter", "uuid": "GPU-1", "polled_seconds": 0.02, "unavailable": None}


def counter(
    watts: float = 300.0, period: float = 0.1, until: float = 60.0, name: str = "gpu0"
) -> Series:
    times = np.arange(0.0, until, period)
    return Series(f"{name}_energy_joules", "J", "measured", tuple(times), tuple(watts * times))


def power(watts: float = 300.0, until: float = 60.0, name: str = "gpu0") -> Series:
    times = np.arange(0.0, until, 0.1)
    values = tuple(np.full(len(times), watts))
    return Series(f"{name}_power_instant_watts", "W", "measured", tuple(times), values)


def run_with(*series: Series, spec: dict[str, Any] | None = None, **facts: Any) -> Run:
    told = facts or {"gpu0": UUID}
    return Run(
        case="c", slug="c", backend="eager", repeat=1, point={}, spec=spec or {}, began_at="",
        series=series, facts={"energy": told},
    )  # fmt: skip


def counts(begin: float, end: float) -> tuple[int, float, int]:
    """Ten output tokens, thirty tokens and a request every second."""
    seconds = end - begin
    return round(10 * seconds), 30 * seconds, round(seconds)


def reason(run: Run, window: tuple[float, float] | None = WINDOW) -> str:
    value, n, why = figures(run, window, counts)["energy_joules_per_output_token"]
    assert value is None
    assert n == 0
    return str(why)


def test_energy_is_counted_from_a_rise_to_a_rise_inside_the_window() -> None:
    (part,) = parts(run_with(counter(period=0.7), power()), WINDOW)
    assert WINDOW[0] <= part.begin < WINDOW[0] + 0.7
    assert WINDOW[1] - 0.7 <= part.end < WINDOW[1]
    assert part.joules == pytest.approx(300 * part.seconds)


@given(st.floats(0.01, 0.3), st.floats(20.0, 700.0))
def test_a_steady_power_is_recovered_whatever_the_period(period: float, watts: float) -> None:
    found = figures(run_with(counter(watts, period)), WINDOW, counts)
    assert found["energy_power_watts"][0] == pytest.approx(watts)


def test_joules_are_shared_out_over_what_was_done_in_their_window() -> None:
    found = figures(run_with(counter(), power()), WINDOW, counts)
    assert found["energy_joules_per_output_token"][0] == pytest.approx(30, rel=0.01)
    assert found["energy_joules_per_total_token"][0] == pytest.approx(10, rel=0.01)
    assert found["energy_joules_per_request"][0] == pytest.approx(300, rel=0.03)


def test_energies_of_several_devices_add_up() -> None:
    run = run_with(counter(300), counter(100, name="gpu1"), gpu0=UUID, gpu1=UUID)
    assert figures(run, WINDOW, counts)["energy_power_watts"][0] == pytest.approx(400)


def test_a_counter_that_goes_back_is_invalid() -> None:
    whole = counter()
    values = np.array(whole.values)
    values[300:] -= values[300]
    reset = Series(whole.name, whole.unit, whole.source, whole.times, tuple(values))
    assert "counter_reset" in reason(run_with(reset))


def test_a_device_that_vanishes_leaves_no_figure_but_its_last_words() -> None:
    facts = {**UUID, "failed_readings": {"NVML: GPU is lost": 900}}
    why = reason(run_with(counter(until=30.0), gpu0=facts))
    assert "sampling_gap" in why
    assert "GPU is lost" in why


def test_a_counter_and_a_power_that_disagree_are_invalid() -> None:
    assert "cross_check_failed" in reason(run_with(counter(300), power(250)))


def test_a_small_disagreement_is_kept_beside_the_figure() -> None:
    (part,) = parts(run_with(counter(300), power(279)), WINDOW)
    assert part.disagreement == pytest.approx(0.07)


def test_without_a_power_beside_it_a_counter_is_unverified() -> None:
    (part,) = parts(run_with(counter()), WINDOW)
    assert part.disagreement is None


def test_a_power_with_a_hole_verifies_nothing() -> None:
    whole = power()
    kept = [(t, v) for t, v in zip(whole.times, whole.values, strict=True) if not 20 < t < 25]
    holed = Series(whole.name, "W", "measured", *map(tuple, zip(*kept, strict=True)))
    (part,) = parts(run_with(counter(), holed), WINDOW)
    assert part.disagreement is None


def test_a_card_whose_counter_stands_still_has_no_energy() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "no reading succeeded during this run")
    assert "zero_delta" in reason(run_with(silent))


def test_a_card_without_a_counter_is_missing_and_not_left_out() -> None:
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
    assert figures(run, WINDOW, counts)["energy_power_watts"][0] == pytest.approx(60)


def test_where_nothing_can_be_read_the_reasons_are_given() -> None:
    silent = Series.unavailable("gpu0_energy_joules", "J", "no NVIDIA driver")
    nothing = {"method": "nvml-counter", "unavailable": "no NVIDIA driver"}
    assert reason(run_with(silent, gpu0=nothing)) == "no NVIDIA driver"


def test_a_run_that_did_not_collect_energy_says_so() -> None:
    assert reason(run_with()) == "the scenario does not collect `energy`"


def test_without_a_steady_window_there_is_no_energy_of_it() -> None:
    assert "no steady window" in reason(run_with(counter()), None)


def test_a_wall_meter_counts_alone() -> None:
    times = np.arange(0.0, 60.0, 1.0)
    wall = Series("wall_power_watts", "W", "measured", tuple(times), tuple(np.full(60, 500.0)))
    run = run_with(counter(300), wall)
    assert figures(run, WINDOW, counts)["energy_power_watts"][0] == pytest.approx(500)


def test_what_was_not_counted_per_token_is_not_divided_by_nothing() -> None:
    value, _, why = figures(run_with(counter()), WINDOW, lambda *_: (0, float("nan"), 0))[
        "energy_joules_per_total_token"
    ]
    assert value is None
    assert why


def test_money_and_co2_come_from_the_users_factors_alone() -> None:
    spec = {"energy": {"price_per_kwh": 0.36, "grams_co2_per_kwh": 360}}
    found = figures(run_with(counter(), spec=spec), WINDOW, counts)
    joules = found["energy_joules_per_output_token"][0]
    assert joules is not None
    assert found["energy_cost_per_million_output_tokens"][0] == pytest.approx(joules / 10)
    assert found["carbon_grams_per_million_output_tokens"][0] == pytest.approx(100 * joules)
    without = figures(run_with(counter()), WINDOW, counts)
    assert "price_per_kwh" in str(without["energy_cost_per_million_output_tokens"][2])


def test_idle_power_and_the_whole_run_come_from_what_was_watched_around_the_load() -> None:
    facts = {**UUID, "idle_watts": 61.0, "run_joules": 5000.0}
    found = figures(run_with(counter(), gpu0=facts), WINDOW, counts)
    assert found["energy_idle_watts"][0] == 61.0
    assert found["energy_run_joules"][0] == 5000.0


def test_an_idle_time_that_was_not_watched_has_no_power() -> None:
    value, _, why = figures(run_with(counter()), WINDOW, counts)["energy_idle_watts"]
    assert value is None
    assert "idle" in str(why)


def test_parts_that_cannot_be_had_raise_with_the_reason() -> None:
    with pytest.raises(Unavailable, match="does not collect"):
        parts(run_with(), WINDOW)
