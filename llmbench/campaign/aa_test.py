"""Nights on which nothing changed, or a known delay was added: how often the gate errs here.

Every night is a whole `check` of an installation against itself; docs/statistics.md has the method.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.compare.comparison import Comparison, values_of
from llmbench.analysis.compare.differences import hardware_of
from llmbench.analysis.compare.power import called, wilson
from llmbench.analysis.compare.verdicts import oriented_logs, robust_std
from llmbench.analysis.metrics import METRICS, summarize
from llmbench.campaign import gate
from llmbench.campaign.observer import Observer
from llmbench.campaign.process import Installation
from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.file import Source

FORMAT = "llmbench noise"
FLOOR = 2.0  # times the noise between processes
POWER, RESAMPLED_NIGHTS = 0.95, 300
EFFECTS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50)


@dataclass(frozen=True, slots=True)
class Night:
    """One comparison of an installation with itself, slower by a share (0: not at all)."""

    delay: float
    found: Comparison


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something came out, with its 95 % interval (Wilson, 1927)."""

    hits: int
    trials: int
    low: float
    high: float

    @classmethod
    def of(cls, came_out: Sequence[bool]) -> Rate:
        """Count; raises ValueError where nothing was tried."""
        if not came_out:
            raise ValueError("a rate needs a trial")
        return cls(sum(came_out), len(came_out), *wilson(sum(came_out), len(came_out)))

    def __str__(self) -> str:
        return f"{self.hits} of {self.trials} ({100 * self.low:.1f} to {100 * self.high:.1f} %)"


@dataclass(frozen=True, slots=True)
class MetricNoise:
    """What a metric of a case does when nothing changes, and when a known delay is added.

    ``noise`` is the standard deviation between processes of one night, as a share and whatever a
    few of them do; ``floor`` the least tolerance that suits it. ``called`` has, by delay, how often
    it came out as a regression; ``detectable`` the smallest change that the gate finds 19 times in
    20, by the processes of a confirmation, None where it is beyond EFFECTS.
    """

    processes: int
    noise: float
    tolerance: float
    floor: float
    called: dict[float, Rate]
    detectable: dict[int, float | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What a campaign of nights came to: ``cases`` by case and metric.

    ``nights`` has, by delay, on how many nights any metric of any case came out as a regression.
    """

    scenario: str
    hardware: dict[str, str]
    nights: dict[float, Rate]
    comparisons: dict[float, Rate]
    cases: dict[str, dict[str, MetricNoise]]

    def as_json(self) -> dict[str, Any]:
        """Give all of it as plain data."""
        return {"format": FORMAT, **asdict(self)}


def nights(
    source: Source, folder: Path, count: int, delays: Sequence[float], observer: Observer
) -> Iterator[Night]:
    """Measure so many nights without a delay and with each, in turn.

    What the folder holds is not measured again.
    """
    for number in range(1, count + 1):
        for delay in (0.0, *delays):
            at = folder / (f"slower-{100 * delay:g}" if delay else "equal") / f"night-{number:03}"
            slower = Installation(flags=(), slowdown=delay)
            baseline = gate.live(source, at / "baseline", Installation(flags=(), slowdown=0.0))
            candidate = gate.live(source, at / "candidate", slower)
            yield Night(delay, gate.check(source, baseline, candidate, observer))


def find(source: Source, measured: Sequence[Night]) -> Findings:
    """Sum up what was measured; raises InputError where every run failed."""
    runs = [run for night in measured for run in night.found.baseline.runs if not run.failure]
    if not runs:
        raise InputError("no run of the baseline could be measured; see its logs")
    delays = sorted({night.delay for night in measured})
    of_delay = {delay: [n.found for n in measured if n.delay == delay] for delay in delays}
    return Findings(
        scenario=source.scenario.name,
        hardware=hardware_of(runs[0].environment),
        nights={d: Rate.of([any(_calls(c)) for c in found]) for d, found in of_delay.items()},
        comparisons={
            d: Rate.of([call for c in found for call in _calls(c)]) for d, found in of_delay.items()
        },
        cases={case.name: dict(_of_case(case, of_delay)) for case in source.cases},
    )


def _calls(found: Comparison) -> list[bool]:
    return [v.outcome == "regression" for case in found.cases for v in case.verdicts.values()]


def _of_case(
    case: Case, of_delay: Mapping[float, Sequence[Comparison]]
) -> Iterator[tuple[str, MetricNoise]]:
    for key, tolerance in gate.tolerances_of(case).items():
        everything = [found for several in of_delay.values() for found in several]
        noise = np.concatenate([_residuals(found, case.name, key) for found in everything])
        if not len(noise):
            continue
        floor = FLOOR * robust_std(noise)
        yield (
            key,
            MetricNoise(
                len(noise),
                robust_std(noise),
                tolerance,
                floor,
                {delay: _rate(several, case.name, key) for delay, several in of_delay.items()},
                _detectable(noise, max(tolerance, floor), case),
            ),
        )


def _residuals(found: Comparison, case: str, key: str) -> NDArray[np.float64]:
    """Give by how much each baseline process was worse than the middle one of its night."""
    runs: list[Run] = found.baseline.by_case().get(case, [])
    values, _ = values_of(key, [summarize(run) for run in runs]) if runs else ([], "")
    if not values:
        return np.empty(0)
    better = METRICS[key].better
    worse, _ = oriented_logs(values, values, "higher" if better == "higher" else "lower")
    return worse - np.median(worse)


def _rate(several: Sequence[Comparison], case: str, key: str) -> Rate:
    verdicts = [c.verdicts[key] for found in several for c in found.cases if c.case == case]
    return Rate.of([verdict.outcome == "regression" for verdict in verdicts])


def _detectable(
    noise: NDArray[np.float64], tolerance: float, case: Case
) -> dict[int, float | None]:
    """Let the gate judge nights drawn from the noise that was seen, with changes put in."""
    options = case.scenario.gate

    def draw(draws: np.random.Generator, count: int) -> NDArray[np.float64]:
        return draws.choice(noise, count)

    def found(effect: float, confirm: int) -> float:
        return called(
            draw, effect, tolerance, RESAMPLED_NIGHTS, screen=options.screen, pairs=confirm
        )

    least: dict[int, float | None] = {}
    for confirm in (options.confirm, 2 * options.confirm):
        place = bisect_left(EFFECTS, POWER, key=lambda effect: found(effect, confirm))
        least[confirm] = EFFECTS[place] if place < len(EFFECTS) else None
    return least


def read_floors(path: Path) -> tuple[dict[str, str], dict[str, dict[str, float]]]:
    """Read the hardware that noise was measured on, and the floors by case and metric.

    Raises InputError when the file is none of ours.
    """
    try:
        told = json.loads(path.read_text("utf-8"))
        if told["format"] != FORMAT:
            raise InputError(f"{path}: not written by `llmbench aa` (its format is not {FORMAT!r})")
        floors = {
            case: {key: float(noise["floor"]) for key, noise in metrics.items()}
            for case, metrics in told["cases"].items()
        }
        return dict(told["hardware"]), floors
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not written by `llmbench aa` ({error!r})") from None
