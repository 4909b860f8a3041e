"""What a run's energy counters amount to, with what is not known of it: pure functions.

A window begins and ends at a moment at which the counter rose, so that no part of an update is
counted twice or left out, and lies wholly inside the load. docs/energy.md has the method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench.errors import Unavailable
from llmbench.runs.record import Series
from llmbench.runs.run import Run

SUFFIX = "_energy_joules"
WALL = "wall"
LEAST_SECONDS, LEAST_PERIODS = 30.0, 300  # of a window that edges and sampling do not blur
LEAST_COVERED = 0.8
AGREES_WITHIN, DISAGREES_BEYOND = 0.05, 0.10
FEWEST_SAMPLES, LONGEST_GAP = 20, 3.0  # of a power that is integrated; times the usual gap

# By which share all that a method tells of a device may be off (results published with Yang et al.,
# SC 2024: steady-state errors of GeForce 10 and later and of A100); None: not known.
GAINS: dict[str, tuple[float, float] | None] = {"nvml-counter": (-0.06, 0.11), "rapl": None}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """The energy that one counter saw inside a window, and how well it is known.

    ``edge`` is the share of it that the moments of its edges leave open, ``disagreement`` how far
    the integral of the power is from the counter, as a share of it; None where there is none.
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
        """How long the window is."""
        return self.end - self.begin

    @property
    def watts(self) -> float:
        """The mean power."""
        return self.joules / self.seconds

    @property
    def least_seconds(self) -> float:
        """How long the window should be."""
        return max(LEAST_SECONDS, LEAST_PERIODS * (self.period or 0.0))


def parts(run: Run, window: tuple[float, float] | None) -> list[Part]:
    """Give what each counter saw inside a window; together they are the energy of the run.

    A wall meter has all of it, where there is one. Else every GPU counts, with every processor
    that can be read. Raises Unavailable, with the reason, where a part of that is not known.
    """
    if window is None:
        raise Unavailable("no steady window: the measured requests were all due at one moment")
    return [_part(run, series, *window) for series in _needed(run)]


def _needed(run: Run) -> list[Series]:
    """Give the series that make up the energy of a run."""
    if wall := _wall(run):
        return wall[:1]
    counters = [s for s in run.series if s.name.endswith(SUFFIX)]
    if not counters:
        raise Unavailable("the scenario does not collect `energy`")
    for series in counters:
        if not series.available and "uuid" in _facts(run, series):
            raise Unavailable(f"{_name(series)}: {_why_nothing(_facts(run, series))}")
    readable = [series for series in counters if series.available]
    if not readable:
        raise Unavailable("; ".join(dict.fromkeys(str(s.why_unavailable) for s in counters)))
    return readable


def _why_nothing(facts: dict[str, Any]) -> str:
    """Say why a counter that is there was not seen to rise."""
    failed = "; ".join(facts.get("failed_readings") or ())
    return facts["unavailable"] or failed or "zero_delta: the counter did not rise during the run"


def _wall(run: Run) -> list[Series]:
    return [s for s in run.series if s.available and s.name.startswith(f"{WALL}_")]


def has_wall(run: Run) -> bool:
    """Tell whether a meter at the wall measured a run."""
    return bool(_wall(run))


def _name(series: Series) -> str:
    return series.name.removesuffix(SUFFIX)


def _facts(run: Run, series: Series) -> dict[str, Any]:
    found: dict[str, Any] = run.facts.get("energy", {}).get(_name(series), {})
    return found


def _part(run: Run, series: Series, begin: float, end: float) -> Part:
    if series.unit == "W":
        return _of_power(series, begin, end)
    facts, name = _facts(run, series), _name(series)
    times, joules = np.asarray(series.times), np.asarray(series.values)
    inside = (times >= begin) & (times < end)
    times, joules = times[inside], joules[inside]
    if not len(times) or times[-1] - times[0] < LEAST_COVERED * (end - begin):
        raise Unavailable(f"{name}: {_gap(times, begin, end, facts)}")
    if (np.diff(joules) < 0).any():
        raise Unavailable(f"{name}: counter_reset: the counter went back during the run")
    spent, seconds = float(joules[-1] - joules[0]), float(times[-1] - times[0])
    off = _disagreement(run, name, float(times[0]), float(times[-1]), spent)
    if off is not None and off > DISAGREES_BEYOND:
        raise Unavailable(
            f"{name}: cross_check_failed: the counter and the integrated power are {100 * off:.0f}"
            " % apart"
        )
    return Part(
        name,
        facts.get("method", WALL),
        spent,
        float(times[0]),
        float(times[-1]),
        facts.get("period_seconds") or float(np.median(np.diff(times))),
        facts.get("polled_seconds", 0.0) / seconds,
        off,
    )


def _gap(times: Floats, begin: float, end: float, facts: dict[str, Any]) -> str:
    """Say how little of a window a counter covers, and what kept it from being read."""
    seconds = float(times[-1] - times[0]) if len(times) else 0.0
    failed = "; ".join(facts.get("failed_readings") or ())
    return (
        f"sampling_gap: the counter rose {len(times)} time(s) and covers {seconds:.2f} s of the "
        f"{end - begin:.2f} s window" + (f" ({failed})" if failed else "")
    )


def _disagreement(run: Run, name: str, begin: float, end: float, joules: float) -> float | None:
    watched = (s for s in run.series if s.name == f"{name}_power_instant_watts" and s.available)
    power = next(watched, None)
    if power is None or not _is_resolved(power, begin, end):
        return None
    integral = _integral(power, begin, end)
    return None if integral is None else abs(joules - integral) / joules


def _is_resolved(power: Series, begin: float, end: float) -> bool:
    """Tell whether a power changes little from a reading to the next.

    Bursts that are shorter than the interval may come just between readings, or at each: half of
    the mean change from one to the next is what trapezoids may be off by.
    """
    times, watts = np.asarray(power.times), np.asarray(power.values)
    inside = watts[(times > begin) & (times < end)]
    unseen = np.abs(np.diff(inside)).sum() / 2
    return bool(unseen <= AGREES_WITHIN * inside.sum())


def _integral(power: Series, begin: float, end: float) -> float | None:
    """Integrate a power by trapezoids, None where it was not seen often enough for that."""
    times, watts = np.asarray(power.times), np.asarray(power.values)
    inside = (times > begin) & (times < end)
    if inside.sum() < FEWEST_SAMPLES:
        return None
    gaps = np.diff(np.concatenate([[begin], times[inside], [end]]))
    if gaps.max() > LONGEST_GAP * np.median(np.diff(times)):
        return None
    at = np.concatenate([[begin], times[inside], [end]])
    return float(np.trapezoid(np.interp(at, times, watts), at))


def _of_power(series: Series, begin: float, end: float) -> Part:
    """Integrate the readings of a wall meter, which has no counter."""
    joules = _integral(series, begin, end)
    if joules is None:
        raise Unavailable(
            f"{WALL}: sampling_gap: too few readings of the meter in the steady window"
        )
    usual = float(np.median(np.diff(np.asarray(series.times))))
    return Part(WALL, WALL, joules, begin, end, usual, usual / (end - begin), None)


# -- figures of a run ------------------------------------------------------------------------------

Told = tuple[float | None, int, str | None]
Counts = Callable[[float, float], tuple[int, float, int]]


def figures(run: Run, window: tuple[float, float] | None, counts: Counts) -> dict[str, Told]:
    """Give the energies of a run: a value with its n, or None with the reason.

    ``counts`` tells the output tokens, all tokens and finished requests between two moments. What
    each part spent is divided by what was done in the window of that part.
    """
    found: dict[str, Callable[[], float]] = {
        "energy_power_watts": lambda: sum(part.watts for part in parts(run, window)),
        **{
            f"energy_joules_per_{what}": partial(_each, run, window, counts, place)
            for place, what in enumerate(("output_token", "total_token", "request"))
        },
        "energy_idle_watts": lambda: _idle_watts(run),
        "energy_run_joules": lambda: _run_joules(run),
    }
    factors = run.spec.get("energy") or {}
    a_token = found["energy_joules_per_output_token"]
    for name, key in FACTORS:
        found[name] = partial(_by_factor, a_token, factors, key)
    return {name: _told(how) for name, how in found.items()}


# what factors that a scenario gives make of joules: metric and key
FACTORS = (
    ("energy_cost_per_million_output_tokens", "price_per_kwh"),
    ("carbon_grams_per_million_output_tokens", "grams_co2_per_kwh"),
)
JOULES_PER_KWH = 3.6e6


def _told(how: Callable[[], float]) -> Told:
    try:
        return how(), 1, None
    except Unavailable as why:
        return None, 0, str(why)


def _each(run: Run, window: tuple[float, float] | None, counts: Counts, place: int) -> float:
    total = 0.0
    for part in parts(run, window):
        done = counts(part.begin, part.end)[place]
        if not done > 0:  # nothing, or the lengths of some prompts are not known (NaN)
            raise Unavailable("what was done in the window is not known, or nothing was")
        total += part.joules / done
    return total


def _by_factor(joules_a_token: Callable[[], float], factors: Mapping[str, Any], key: str) -> float:
    factor = factors.get(key)
    if factor is None:
        raise Unavailable(f"the scenario sets no `energy.{key}`")
    return 1e6 * joules_a_token() / JOULES_PER_KWH * float(factor)


def _idle_watts(run: Run) -> float:
    """Give the power before the load, with the model loaded."""
    return sum(_fact(run, series, "idle_watts") for series in _counters(run))


def _run_joules(run: Run) -> float:
    """Give the energy from the idle time before the load to that after it."""
    counters = _counters(run)
    for series in counters:
        if (np.diff(series.values) < 0).any():
            raise Unavailable(
                f"{_name(series)}: counter_reset: the counter went back during the run"
            )
    return sum(_fact(run, series, "run_joules") for series in counters)


def _counters(run: Run) -> list[Series]:
    if has_wall(run):
        raise Unavailable("a wall meter's readings say nothing of idle moments")
    return _needed(run)


def _fact(run: Run, series: Series, key: str) -> float:
    found = _facts(run, series).get(key)
    if found is None:
        raise Unavailable(
            f"{_name(series)}: the counter did not rise in the idle time that was watched"
        )
    return float(found)
