"""What a number of replicas costs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from simulated_loads import case, run_of

from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.runs.series import Series
from llmbench.simulation.running_costs import Meter, power_line

IDLE, DYNAMIC, SECONDS = 10.0, 30.0, 0.25


def measured(rate: float, size: int = 1, **spec: Any) -> Run:
    """A run on a machine whose power is linear in the share of time that its replicas are busy."""
    run = run_of(case(rate, **spec), 1, np.arange(101) / rate, SECONDS, size)
    times = np.arange(0.0, 101 / rate, 0.01)
    watts = size * IDLE + DYNAMIC * SECONDS * rate
    counter = Series.measured("package0_energy_joules", "J", times, watts * times)
    facts = {"energy": {"package0": {"method": "rapl", "idle_watts": size * IDLE}}}
    return replace(run, series=(counter,), facts=facts)


def test_the_power_at_several_loads_is_a_line_of_the_busy_share() -> None:
    line = power_line([measured(1.0), measured(2.0), measured(3.0)])
    assert (line.idle, line.dynamic) == pytest.approx((IDLE, DYNAMIC))
    assert line.watts(0.5) == pytest.approx(25.0)


def test_the_power_at_one_load_and_the_idle_power_make_a_line() -> None:
    line = power_line([measured(2.0)])
    assert (line.idle, line.watts(0.5)) == pytest.approx((IDLE, 25.0))


def test_a_run_without_power_has_a_reason() -> None:
    run = replace(measured(2.0), series=())
    with pytest.raises(Unavailable, match="does not collect `energy`"):
        power_line([measured(1.0), run])


def test_the_costs_are_those_of_all_replicas() -> None:
    meter = Meter([measured(1.0), measured(3.0)])
    costs = meter.at(case(price_per_hour=2.0), replicas=4, busy=0.5, output_rate=200.0)
    assert costs.price_per_hour.value == 8.0
    assert costs.cost_per_million_output_tokens.value == pytest.approx(8e6 / 3600 / 200)
    assert costs.power_watts.value == pytest.approx(100.0)
    assert costs.energy_joules_per_output_token.value == pytest.approx(0.5)


def test_a_machine_with_two_replicas_counts_half_for_each() -> None:
    pair = {"replicas": {"count": 2}, "backends": [{"kind": "fake", "clock": "real"}]}
    meter = Meter([measured(2.0, 2, **pair), measured(6.0, 2, **pair)])
    costs = meter.at(case(price_per_hour=2.0), replicas=4, busy=0.5, output_rate=200.0)
    assert costs.price_per_hour.value == 4.0
    assert costs.power_watts.value == pytest.approx(4 * (IDLE + DYNAMIC / 2), rel=0.01)


def test_without_a_price_or_tokens_there_is_no_cost() -> None:
    meter = Meter([measured(1.0), measured(3.0)])
    costs = meter.at(case(), replicas=4, busy=0.5, output_rate=0.0)
    assert costs.cost_per_million_output_tokens.reason == "the scenario sets no `price_per_hour`"
    assert costs.energy_joules_per_output_token.value is None
