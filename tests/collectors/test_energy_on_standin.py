"""Energy through the real NVML binding, on a stand-in driver with known energy."""

from __future__ import annotations

import pytest
from standin import MakeStandin, Standin, StandinGpu

from llmbench.analysis.energy import CounterEnergy, counter_energies
from llmbench.collectors.energy import EnergyProbe, GpuCounter
from llmbench.collectors.gpu.collector import GpuProbe
from llmbench.collectors.gpu.devices import visible_devices
from llmbench.collectors.recorder import Recorder
from llmbench.environment.nvml import open_nvml
from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case

LOADED = (2.0, 42.0)  # seconds of the load
WINDOW = (3.0, 41.0)  # the steady window inside it
INTERVAL, IDLE = 0.02, 1.0
IDLE_WATTS, WATTS = 60.0, 400.0
CONSTANT = [(0.0, IDLE_WATTS), (LOADED[0], WATTS), (LOADED[1], IDLE_WATTS)]
STEPPED = [(0.0, IDLE_WATTS), (2.0, 200.0), (15.3, 500.0), (31.1, 350.0), (42.0, IDLE_WATTS)]
BURSTY = [
    (0.0, IDLE_WATTS),
    *((2.0 + 0.25 * n, 650.0 if n % 2 else 150.0) for n in range(160)),
    (42.0, IDLE_WATTS),
]  # fmt: skip


def watched(driver: Standin) -> Run:
    """Watch energy and power from before the load until after it, as the sampler does."""
    nvml = open_nvml()
    devices = visible_devices(nvml, None)

    def energy() -> EnergyProbe:
        counters = [GpuCounter(nvml, device) for device in devices]
        return EnergyProbe(counters, IDLE, INTERVAL, now=driver.time, sleep=driver.advance)

    def power() -> GpuProbe:
        return GpuProbe(nvml, devices, frozenset, pid_exists=lambda _: True)

    driver.advance(LOADED[0] - 2 * IDLE)
    recorders = [
        Recorder("energy", INTERVAL, energy, driver.time),
        Recorder("gpu", 0.1, power, driver.time),
    ]
    for recorder in recorders:
        recorder.begin(driver.time())
    while driver.time() < LOADED[1]:
        due = min(recorder.due for recorder in recorders)
        driver.advance(min(due, LOADED[1]) - driver.time())
        for recorder in recorders:
            if recorder.due <= driver.time():
                recorder.read()
    facts = recorders[0].conclude().facts
    series = tuple(series for recorder in recorders for series in recorder.series())
    return Run(Case("c", "c", "eager", {}, {}), 1, "", series=series, facts=facts)


def part_of(driver: Standin) -> CounterEnergy:
    (part,) = counter_energies(watched(driver), WINDOW)
    return part


def reason_of(driver: Standin) -> str:
    with pytest.raises(Unavailable) as reason:
        counter_energies(watched(driver), WINDOW)
    return str(reason.value)


@pytest.mark.parametrize("period", [0.01, 0.02, 0.05, 0.1])
@pytest.mark.parametrize(
    "curve", [CONSTANT, STEPPED, BURSTY], ids=["constant", "stepped", "bursty"]
)
def test_joules_are_recovered_within_the_error_of_the_edges(
    standin: MakeStandin, curve: list[tuple[float, float]], period: float
) -> None:
    driver = standin(devices=[StandinGpu(curve=curve, counter_period=period)])
    part = part_of(driver)
    peak = max(watts for _, watts in curve)
    allowed = (INTERVAL + 0.002) * peak  # a rise is seen at the next reading; joules are whole mJ
    assert part.joules == pytest.approx(driver.true_joules(0, part.begin, part.end), abs=allowed)
    assert part.edge <= INTERVAL / 37


def test_bursts_between_readings_of_the_power_neither_verify_nor_invalidate(
    standin: MakeStandin,
) -> None:
    driver = standin(devices=[StandinGpu(curve=BURSTY, counter_period=0.1)])
    assert part_of(driver).disagreement is None


@pytest.mark.parametrize("lag", [0.05, 0.2])
def test_a_lag_does_not_change_a_steady_power(standin: MakeStandin, lag: float) -> None:
    driver = standin(devices=[StandinGpu(curve=CONSTANT, counter_period=0.1, lag=lag)])
    assert part_of(driver).watts == pytest.approx(WATTS, rel=0.001)


def test_a_lag_cancels_between_two_idle_moments(standin: MakeStandin) -> None:
    driver = standin(devices=[StandinGpu(curve=CONSTANT, counter_period=0.1, lag=0.2)])
    facts = watched(driver).facts["energy"]["gpu0"]
    idle_seconds = facts["run_seconds"] - (LOADED[1] - LOADED[0])
    truth = WATTS * (LOADED[1] - LOADED[0]) + IDLE_WATTS * idle_seconds
    assert facts["run_joules"] == pytest.approx(truth, rel=0.001)


def test_a_gain_error_is_visible_in_the_cross_check(standin: MakeStandin) -> None:
    driver = standin(devices=[StandinGpu(curve=CONSTANT, counter_period=0.1, gain=1.06)])
    part = part_of(driver)
    assert part.watts == pytest.approx(1.06 * WATTS, rel=0.001)
    assert part.disagreement == pytest.approx(0.06 / 1.06, rel=0.02)


def test_period_and_idle_power_are_measured_on_the_card(standin: MakeStandin) -> None:
    driver = standin(devices=[StandinGpu(curve=CONSTANT, counter_period=0.1)])
    facts = watched(driver).facts["energy"]["gpu0"]
    assert facts["period_seconds"] == pytest.approx(0.1, abs=0.002)
    assert facts["idle_watts"] == pytest.approx(IDLE_WATTS, rel=0.02)
    assert facts["uuid"] == "GPU-aaaa-1"


def test_a_counter_that_restarts_is_invalid(standin: MakeStandin) -> None:
    card = StandinGpu(curve=CONSTANT, counter_period=0.1, reset_at=20.0)
    assert "counter_reset" in reason_of(standin(devices=[card]))


def test_a_driver_without_the_function_is_unavailable(standin: MakeStandin) -> None:
    driver = standin(
        devices=[StandinGpu(curve=CONSTANT)], missing=("nvmlDeviceGetTotalEnergyConsumption",)
    )
    assert "Function Not Found" in reason_of(driver)


def test_a_card_that_does_not_support_it_is_unavailable(standin: MakeStandin) -> None:
    card = StandinGpu(curve=CONSTANT, faults={"nvmlDeviceGetTotalEnergyConsumption": 3})
    assert "Not Supported" in reason_of(standin(devices=[card]))


def test_a_card_that_falls_off_the_bus_has_no_energy(standin: MakeStandin) -> None:
    card = StandinGpu(curve=CONSTANT, counter_period=0.1, lost_from=20.0)
    reason = reason_of(standin(devices=[card]))
    assert "sampling_gap" in reason
    assert "GPU is lost" in reason


def test_a_counter_that_does_not_rise_is_unavailable_and_not_zero(standin: MakeStandin) -> None:
    card = StandinGpu(curve=[(0.0, 0.0)], counter_period=0.1)
    assert "zero_delta" in reason_of(standin(devices=[card]))


def test_cards_add_up_and_without_one_there_is_no_sum(standin: MakeStandin) -> None:
    cards = [
        StandinGpu(curve=CONSTANT, counter_period=0.1),
        StandinGpu(curve=CONSTANT, counter_period=0.02, uuid="GPU-bbbb-2", bus=2),
    ]
    all_parts = counter_energies(watched(standin(devices=cards)), WINDOW)
    assert sum(part.watts for part in all_parts) == pytest.approx(2 * WATTS, rel=0.001)


def test_of_two_cards_a_lost_one_makes_the_sum_unavailable(standin: MakeStandin) -> None:
    cards = [
        StandinGpu(curve=CONSTANT, counter_period=0.1),
        StandinGpu(
            curve=CONSTANT, counter_period=0.02, uuid="GPU-bbbb-2", bus=2, lost_from=9.0
        ),
    ]  # fmt: skip
    assert "gpu1: sampling_gap" in reason_of(standin(devices=cards))
