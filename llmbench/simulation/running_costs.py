"""What a number of replicas costs: money by the scenario's price, energy by measured power."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmbench.analysis.metrics import summarize
from llmbench.analysis.metrics.summary import price_per_hour
from llmbench.analysis.values import Value
from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.simulation.occupancy import busy_share
from llmbench.simulation.sources import replicas_of

LEAST_SPAN = 0.1  # of the busy shares that a line is fitted to
PAIR = 2


@dataclass(frozen=True, slots=True)
class PowerLine:
    """The power of an idle replica, and the additional power of a busy one, in watts."""

    idle: float
    dynamic: float

    def watts(self, busy: float) -> float:
        """Return the power of a replica by its busy share."""
        return self.idle + self.dynamic * busy


@dataclass(frozen=True, slots=True)
class RunningCosts:
    """Cost and energy of replicas, each a value or the reason why there is none."""

    price_per_hour: Value
    cost_per_million_output_tokens: Value
    power_watts: Value
    energy_joules_per_output_token: Value


@dataclass(frozen=True)
class Meter:
    """The price and the power of one replica, from the runs that were measured.

    A machine that was measured with several replicas is divided among them.
    """

    sources: Sequence[Run]

    def at(self, case: Case, replicas: int, busy: float, output_rate: float) -> RunningCosts:
        """Return the costs of replicas that are busy for a share of the time.

        C = N p / M, cost per 10⁶ tokens = 10⁶ C / (3600 r), P = N (a + b U), energy per token = P/r

        where N is the number of replicas, p the price per hour of the measured machine and M its
        replicas, r the output tokens per second, U the busy share, and a + b U the power line.
        """
        price = _value(lambda: replicas * self._price(case))
        watts = _value(lambda: replicas * power_line(self.sources).watts(busy))
        return RunningCosts(
            price,
            _per_token(price, 1e6 / 3600, output_rate),
            watts,
            _per_token(watts, 1.0, output_rate),
        )

    def _price(self, case: Case) -> float:
        first = self.sources[0]
        price = price_per_hour(replace(first, case=case))
        if price.value is None:
            raise Unavailable(price.reason)
        return price.value / replicas_of(first.case)


def power_line(runs: Sequence[Run]) -> PowerLine:
    """Return the power of one replica against its busy share, from measured runs.

    P(U) = a + b U, by least squares over the runs, where U is the busy share and P the mean power
    in W, divided by the number of replicas. Runs at one load need the idle power. Raise Unavailable
    if the power is unknown. Source: Fan, Weber and Barroso, Power Provisioning for a
    Warehouse-sized Computer, 2007.
    """
    points = [_point(run) for run in runs]
    busy, watts = np.array(points).T
    if len(points) < PAIR or np.ptp(busy) < LEAST_SPAN:
        idle = float(np.mean([_measured(run, "energy_idle_watts") for run in runs]))
        return PowerLine(idle, float((watts.mean() - idle) / max(busy.mean(), LEAST_SPAN)))
    dynamic, idle = map(float, np.polyfit(busy, watts, 1))
    return PowerLine(idle, dynamic)


def _point(run: Run) -> tuple[float, float]:
    replicas = replicas_of(run.case)
    return busy_share(run, replicas), _measured(run, "energy_power_watts")


def _measured(run: Run, metric: str) -> float:
    """Return a metric of a run per replica."""
    value = summarize(run)[metric]
    if value.value is None:
        raise Unavailable(value.reason)
    return value.value / replicas_of(run.case)


def _value(compute: Callable[[], float]) -> Value:
    try:
        return Value(compute(), 1)
    except Unavailable as reason:
        return Value.unavailable(str(reason))


def _per_token(per_second: Value, factor: float, output_rate: float) -> Value:
    if per_second.value is None:
        return per_second
    if not output_rate > 0:
        return Value.unavailable("no output tokens in the simulated window")
    return Value(factor * per_second.value / output_rate, per_second.n)
