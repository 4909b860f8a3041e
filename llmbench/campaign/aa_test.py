"""A/A tests of the gate: its false-alarm rate, and its detection rate of known delays.

Every repetition is a complete `check`; docs/statistics.md explains the method.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import scipy

from llmbench.analysis.compare.comparison import Comparison
from llmbench.analysis.compare.confirmation import Sides
from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.compare.judge import CasePair, Processes, better
from llmbench.analysis.compare.power import Design, rates
from llmbench.analysis.compare.verdicts import Outcome
from llmbench.analysis.metrics import metric_key
from llmbench.analysis.stats import Floats
from llmbench.campaign import gate
from llmbench.campaign.observer import Observer
from llmbench.campaign.process import Installation
from llmbench.errors import InputError
from llmbench.runs.files import converted, read_json
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source

REGRESSION: Outcome = "regression"
FLOOR = 2.0  # in standard deviations between processes
POWER, RESAMPLED_CHECKS = 0.95, 300
EFFECTS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)


@dataclass(frozen=True, slots=True)
class Repetition:
    """A check of an installation against itself, its candidate slowed by ``delay`` (0.1: 10 %)."""

    delay: float
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Rate:
    """The rate at which an event occurred, with its 95 % confidence interval (Wilson, 1927)."""

    hits: int
    trials: int
    low: float
    high: float

    @classmethod
    def of(cls, happened: Sequence[bool]) -> Rate:
        """Return the fraction of trials with the event; raises ValueError without trials."""
        hits, trials = sum(happened), len(happened)
        interval = scipy.stats.binomtest(hits, trials).proportion_ci(method="wilson")
        return cls(hits, trials, float(interval.low), float(interval.high))

    def __str__(self) -> str:
        return f"{self.hits} of {self.trials} ({100 * self.low:.1f} to {100 * self.high:.1f} %)"


@dataclass(frozen=True, slots=True)
class MetricNoise:
    """The gate's behavior for one metric of a case, without a change and with known delays.

    ``noise`` is the robust relative standard deviation between the processes of a pair, without a
    delay; ``floor`` is the lowest suitable relative tolerance. ``called`` is the rate of regression
    verdicts by delay. ``detectable`` is the smallest relative change that the gate detects in 19 of
    20 checks, by the number of confirmation pairs per stage; None if it exceeds all EFFECTS.
    """

    processes: int
    noise: float
    tolerance: float
    floor: float
    called: dict[float, Rate]
    detectable: dict[int, float | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of all repetitions; ``cases`` has the noise by case and metric.

    By delay, ``nights`` is the rate of repetitions with any regression verdict, ``undecided`` that
    of repetitions with an undecided metric and no regression, and ``comparisons`` the rate of
    regression verdicts among all metrics of all cases.
    """

    scenario: str
    hardware: dict[str, str]
    nights: dict[float, Rate]
    undecided: dict[float, Rate]
    comparisons: dict[float, Rate]
    cases: dict[str, dict[str, MetricNoise]]

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON data, the content of a noise file."""
        return {"format": "llmbench noise", **asdict(self)}


def repetitions(
    source: Source, folder: Path, count: int, delays: Sequence[float], observer: Observer
) -> Iterator[Repetition]:
    """Yield ``count`` measured repetitions without a delay and with each delay, alternating.

    Repetitions already in the folder are not measured again.
    """
    for number in range(1, count + 1):
        for delay in (0.0, *delays):
            at = folder / (f"slower-{100 * delay:g}" if delay else "equal") / f"night-{number:03}"
            slower = Installation(slowdown=delay)
            baseline = gate.live_side(source, at / "baseline", Installation(slowdown=0.0))
            candidate = gate.live_side(source, at / "candidate", slower)
            yield Repetition(delay, gate.check(source, baseline, candidate, observer))


def findings(source: Source, measured: Sequence[Repetition]) -> Findings:
    """Return the rates of regression verdicts and the noise of metrics over all repetitions.

    Raises InputError if every run of the baseline failed.
    """
    runs = [run for rep in measured for run in rep.comparison.baseline.runs if not run.failure]
    if not runs:
        raise InputError("every run of the baseline failed; see the logs in its folder")
    by_delay = {
        delay: [rep.comparison for rep in measured if rep.delay == delay]
        for delay in sorted({rep.delay for rep in measured})
    }
    ended = {delay: list(map(_outcomes, checks)) for delay, checks in by_delay.items()}
    return Findings(
        scenario=source.scenario.name,
        hardware=hardware_of(runs[0].environment),
        nights={
            delay: Rate.of([REGRESSION in check for check in checks])
            for delay, checks in ended.items()
        },
        undecided={
            delay: Rate.of(["undecided" in check and REGRESSION not in check for check in checks])
            for delay, checks in ended.items()
        },
        comparisons={
            delay: Rate.of([outcome == REGRESSION for check in checks for outcome in check])
            for delay, checks in ended.items()
        },
        cases={case.name: dict(_noises(case, by_delay)) for case in source.cases},
    )


def _outcomes(check: Comparison) -> list[Outcome]:
    return [verdict.outcome for case in check.cases for verdict in case.verdicts.values()]


def _noises(
    case: Case, by_delay: Mapping[float, Sequence[Comparison]]
) -> Iterator[tuple[str, MetricNoise]]:
    """Yield the key and noise of every gated metric of a case that has values."""
    pairs = [_paired(check, case.name) for check in by_delay[0.0]]
    for key, tolerance in gate.tolerances_of(case).items():
        logs = np.concatenate([_logs(pair, key) for pair in pairs])
        if not len(logs):
            continue
        noise = Sides(logs[:, 0], logs[:, 1], better(key), tolerance, paired=True).noise
        floor = FLOOR * noise
        called = {delay: _rate(checks, case.name, key) for delay, checks in by_delay.items()}
        detectable = _detectable(logs, max(tolerance, floor), case)
        yield key, MetricNoise(logs.size, noise, tolerance, floor, called, detectable)


def _paired(check: Comparison, case: str) -> CasePair:
    """Return the processes of a case that were measured in pairs."""
    baseline, candidate = (
        Processes.of(side.by_case().get(case, [])) for side in (check.baseline, check.candidate)
    )
    common = baseline.repeats & candidate.repeats
    return CasePair(baseline.only(common), candidate.only(common))


def _logs(pair: CasePair, key: str) -> Floats:
    """Return the logarithms of both sides, one row per pair, relative to the median of all."""
    baseline, candidate, _ = pair.values(key)
    if not baseline:
        return np.empty((0, 2))
    sides = Sides.of(baseline, candidate, better(key), 0.0, paired=True)
    logs = np.column_stack([sides.baseline, sides.candidate])
    return logs - np.median(logs)


def _rate(checks: Sequence[Comparison], case: str, key: str) -> Rate:
    verdicts = [c.verdicts[key] for check in checks for c in check.cases if c.case == case]
    return Rate.of([verdict.outcome == REGRESSION for verdict in verdicts])


def _detectable(pairs: Floats, tolerance: float, case: Case) -> dict[int, float | None]:
    """Return the smallest detectable relative change by the number of confirmation pairs per stage.

    The gate judges simulated checks: pairs are sampled from the measured ones, and the candidate is
    made worse by the change.
    """
    options = case.scenario.gate

    def draw(rng: np.random.Generator, count: int) -> Floats:
        return rng.choice(pairs, count // 2).ravel()

    def rate(effect: float, confirm: int) -> float:
        design = Design(options.screen, confirm)
        return rates(draw, effect, tolerance, RESAMPLED_CHECKS, design).regression

    least: dict[int, float | None] = {}
    for confirm in (options.confirm, 2 * options.confirm):
        index = bisect_left(EFFECTS, POWER, key=lambda effect: rate(effect, confirm))
        least[confirm] = EFFECTS[index] if index < len(EFFECTS) else None
    return least


class _StoredNoise(msgspec.Struct):
    floor: float


class _Stored(msgspec.Struct):
    """The part of a noise file that `read_floors` needs."""

    format: Literal["llmbench noise"]
    hardware: dict[str, str]
    cases: dict[str, dict[str, _StoredNoise]]


def read_floors(path: Path) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Return a noise file's hardware and its minimum relative tolerances by case and metric.

    Raises InputError if the file cannot be read or was not written by `llmbench aa`.
    """
    remedy = "give a file that `llmbench aa` wrote"
    stored = converted(read_json(path, remedy), _Stored, path, remedy)
    floors = {
        case: {metric_key(key): noise.floor for key, noise in metrics.items()}
        for case, metrics in stored.cases.items()
    }
    return stored.hardware, floors
