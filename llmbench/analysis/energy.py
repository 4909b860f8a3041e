"""The energy of a run from its counters, with its uncertainty.

A window begins and ends at counter updates, so that no update is counted partially, and lies within
the load. docs/energy.md explains the method.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmbench.analysis.stats import Floats
from llmbench.analysis.values import NO_WINDOW, Value
from llmbench.errors import Unavailable
from llmbench.runs.run import Run
from llmbench.runs.series import Series

COUNTED = "energy_joules"
WALL = "wall"
SERVER_GPU = re.compile(r"server\d*gpu\d+")
LEAST_SECONDS, LEAST_PERIODS = 30.0, 300  # of a window, so that edge effects are small
LEAST_COVERED = 0.8
AGREES_WITHIN, DISAGREES_BEYOND = 0.05, 0.10
FEWEST_SAMPLES, LONGEST_GAP = 20, 3.0  # of a sampled power; the gap in median intervals

# The range of a method's constant relative error on a device (data published with Yang et al., SC
# 2024: steady-state errors of GeForce 10 and later and of A100); None: unknown.
GAINS: dict[str, tuple[float, float] | None] = {
    "nvml-counter": (-0.06, 0.11),
    "dcgm-counter": (-0.06, 0.11),
    "rapl": None,
}


@dataclass(frozen=True, slots=True)
class CounterEnergy:
    """The energy of one counter within a window, and its uncertainty.

    ``edge`` is the fraction of the energy that depends on the exact times of the window's edges;
    ``disagreement`` is the relative difference from the integrated power (None: not integrated).
    """

    name: str
    method: str
    joules: float
    begin: float
    end: float
    period: float | None
    edge: float
    disagreement: float | None

    @property
    def seconds(self) -> float:
        """The length of the window in seconds."""
        return self.end - self.begin

    @property
    def watts(self) -> float:
        """The mean power in watts."""
        return self.joules / self.seconds

    @property
    def min_seconds(self) -> float:
        """The recommended minimum length of the window in seconds."""
        return max(LEAST_SECONDS, LEAST_PERIODS * (self.period or 0.0))


def counter_energies(run: Run, window: tuple[float, float] | None) -> list[CounterEnergy]:
    """Return the energy of each counter within a window; their sum is the energy of the run.

    Use a wall meter alone if there is one, else every readable GPU and CPU. Raise Unavailable if
    the energy of one of them is unknown.
    """
    if window is None:
        raise Unavailable(NO_WINDOW)
    return [_part(run, series, *window) for series in _needed(run)]


def _needed(run: Run) -> list[Series]:
    """Return the energy series that add up to a run's energy: a wall meter, else GPUs and CPUs."""
    if wall := wall_series(run):
        return wall[:1]
    counters = _without_duplicates(run, [s for s in run.series if s.quantity == COUNTED])
    if not counters:
        raise Unavailable("the scenario does not collect `energy`")
    for series in counters:
        facts = _facts(run, series)
        if not series.available and "uuid" in facts:
            failed = "; ".join(facts.get("failed_readings") or ())
            zero_delta = "zero_delta: the counter did not rise during the run"
            raise Unavailable(
                f"{series.device}: {facts.get('unavailable') or failed or zero_delta}"
            )
    readable = [series for series in counters if series.available]
    if not readable:
        raise Unavailable("; ".join(dict.fromkeys(str(s.why_unavailable) for s in counters)))
    return readable


def _without_duplicates(run: Run, counters: list[Series]) -> list[Series]:
    """Return the counters with each GPU once: one that was also read locally is not added."""
    local = {
        _facts(run, series).get("uuid")
        for series in counters
        if series.available and not _is_of_server(series)
    }
    return [s for s in counters if not (_is_of_server(s) and _facts(run, s).get("uuid") in local)]


def _is_of_server(series: Series) -> bool:
    return SERVER_GPU.fullmatch(str(series.device)) is not None


def wall_series(run: Run) -> list[Series]:
    """Return the series of a wall meter, if one measured the run."""
    return [series for series in run.series if series.available and series.device == WALL]


def _facts(run: Run, series: Series) -> dict[str, Any]:
    facts: dict[str, Any] = run.facts.get("energy", {}).get(str(series.device), {})
    return facts


def _part(run: Run, series: Series, begin: float, end: float) -> CounterEnergy:
    """Return E = e[last] − e[first], over the readings e of a counter within a window."""
    if series.unit == "W":
        return _integrated_meter(series, begin, end)
    facts, name = _facts(run, series), str(series.device)
    times, joules = series.times, series.values
    inside = (times >= begin) & (times < end)
    times, joules = times[inside], joules[inside]
    if not len(times) or times[-1] - times[0] < LEAST_COVERED * (end - begin):
        raise Unavailable(f"{name}: {_gap(times, begin, end, facts)}")
    _raise_if_reset(name, joules)
    spent, seconds = float(joules[-1] - joules[0]), float(times[-1] - times[0])
    disagreement = _disagreement(run, name, float(times[0]), float(times[-1]), spent)
    if disagreement is not None and disagreement > DISAGREES_BEYOND:
        raise Unavailable(
            f"{name}: cross_check_failed: the counter and the integrated power differ by "
            f"{100 * disagreement:.0f} %"
        )
    return CounterEnergy(
        name,
        facts.get("method", WALL),
        spent,
        float(times[0]),
        float(times[-1]),
        facts.get("period_seconds") or float(np.median(np.diff(times))),
        facts.get("polled_seconds", 0.0) / seconds,
        disagreement,
    )


def _raise_if_reset(name: str | None, joules: Floats) -> None:
    if (np.diff(joules) < 0).any():
        raise Unavailable(f"{name}: counter_reset: the counter decreased during the run")


def _gap(times: Floats, begin: float, end: float, facts: dict[str, Any]) -> str:
    """Return the reason why a counter covers too little of a window, with its failed readings."""
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    failed = "; ".join(facts.get("failed_readings") or ())
    return (
        f"sampling_gap: the counter rose {len(times)} time(s) and covers {seconds:.2f} s of the "
        f"{end - begin:.2f} s window" + (f" ({failed})" if failed else "")
    )


def _disagreement(run: Run, name: str, begin: float, end: float, joules: float) -> float | None:
    """Return |E − ∫P dt| / E, where E is the counter's energy and P the sampled power."""
    power = run.find_series("power_instant_watts", name)
    if power is None or not power.available or not _is_resolved(power, begin, end):
        return None
    integral = _integral(power, begin, end)
    return None if integral is None else abs(joules - integral) / joules


def _is_resolved(power: Series, begin: float, end: float) -> bool:
    """Return whether power changes little between readings: Σ |Pᵢ₊₁ − Pᵢ| / 2 ≤ 5 % of Σ Pᵢ.

    A burst shorter than the interval may fall between readings or coincide with them: half of the
    mean change bounds the error of the trapezoidal rule.
    """
    times, watts = power.times, power.values
    inside = watts[(times > begin) & (times < end)]
    error = np.abs(np.diff(inside)).sum() / 2
    return bool(error <= AGREES_WITHIN * inside.sum())


def _integral(power: Series, begin: float, end: float) -> float | None:
    """Return the integral of power in J; None if its readings are too few or too far apart."""
    times, watts = power.times, power.values
    inside = (times > begin) & (times < end)
    if inside.sum() < FEWEST_SAMPLES:
        return None
    moments = np.concatenate([[begin], times[inside], [end]])
    if np.diff(moments).max() > LONGEST_GAP * np.median(np.diff(times)):
        return None
    return float(np.trapezoid(np.interp(moments, times, watts), moments))


def _integrated_meter(series: Series, begin: float, end: float) -> CounterEnergy:
    """Return the energy within a window of a wall meter that only records power."""
    joules = _integral(series, begin, end)
    if joules is None:
        raise Unavailable(f"{WALL}: sampling_gap: too few readings in the steady window")
    usual = float(np.median(np.diff(series.times)))
    return CounterEnergy(WALL, WALL, joules, begin, end, usual, usual / (end - begin), None)


# -- metrics of a run -----------------------------------------------------------------------------

JOULES_PER_KWH = 3.6e6
Counts = Callable[[float, float], tuple[int, float, int]]


def energy_metrics(
    run: Run, window: tuple[float, float] | None, counts: Counts
) -> dict[str, Value]:
    """Return the energy metrics of a run.

    mean power = Σ Eₖ / Tₖ
    energy per unit = Σ Eₖ / nₖ
    cost per 10⁶ output tokens = 10⁶ E f / 3.6·10⁶

    where Eₖ is the energy in J of counter k in its window of Tₖ seconds, nₖ the number of output
    tokens, all tokens or finished requests in that window (``counts`` returns the three between
    two moments), E the energy per output token, and f the price or the grams of CO₂ per kWh.
    """

    def per(unit: int) -> float:
        return sum(
            _per(part, counts(part.begin, part.end)[unit]) for part in counter_energies(run, window)
        )

    def by_factor(key: str) -> float:
        factor = (run.case.spec.get("energy") or {}).get(key)
        if factor is None:
            raise Unavailable(f"the scenario sets no `energy.{key}`")
        return 1e6 * per(0) / JOULES_PER_KWH * float(factor)

    computations: dict[str, Callable[[], float]] = {
        "energy_power_watts": lambda: sum(part.watts for part in counter_energies(run, window)),
        "energy_joules_per_output_token": lambda: per(0),
        "energy_joules_per_total_token": lambda: per(1),
        "energy_joules_per_request": lambda: per(2),
        "energy_idle_watts": lambda: _idle_watts(run),
        "energy_run_joules": lambda: _run_joules(run),
        "energy_cost_per_million_output_tokens": lambda: by_factor("price_per_kwh"),
        "carbon_grams_per_million_output_tokens": lambda: by_factor("grams_co2_per_kwh"),
    }
    return {key: _value(compute) for key, compute in computations.items()}


def _value(compute: Callable[[], float]) -> Value:
    try:
        return Value(compute(), 1)
    except Unavailable as reason:
        return Value.unavailable(str(reason))


def _per(part: CounterEnergy, count: float) -> float:
    if not count > 0:  # none, or some prompt lengths are unknown (NaN)
        raise Unavailable(
            "no tokens or requests were completed in the window, or some prompt lengths are unknown"
        )
    return part.joules / count


def _idle_watts(run: Run) -> float:
    """Return the idle power in watts before the load, with the model loaded."""
    return sum(_fact(run, series, "idle_watts") for series in _counters(run))


def _run_joules(run: Run) -> float:
    """Return the energy in joules between the idle periods before and after the load."""
    counters = _counters(run)
    for series in counters:
        _raise_if_reset(series.device, series.values)
    return sum(_fact(run, series, "run_joules") for series in counters)


def _counters(run: Run) -> list[Series]:
    if wall_series(run):
        raise Unavailable("a wall meter's readings do not cover the idle time")
    return _needed(run)


def _fact(run: Run, series: Series, key: str) -> float:
    fact = _facts(run, series).get(key)
    if fact is None:
        raise Unavailable(f"{series.device}: the counter did not rise during idle time")
    return float(fact)
