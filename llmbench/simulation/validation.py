"""How well fitted step times predict measured runs that the fit has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import gmean

from llmbench.analysis.metrics import METRICS, RecordArrays
from llmbench.analysis.stats import percentile
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream
from llmbench.simulation import sources
from llmbench.simulation.draws import Noise
from llmbench.simulation.step_times import StepModel, fitted_replicas

FIGURES = ("ttft_p50", "ttft_p99", "e2e_p50", "e2e_p99")
LARGE_ERROR = 0.10
# step-time factors at which held-out loads are predicted again
FACTORS = (0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.25)
FEWEST_GROUPS = 2
FEWEST_SIMULATED = 32  # runs of a held-out load

Floats = NDArray[np.float64]
Fit = Callable[[Sequence[Run]], StepModel]
Simulate = Callable[[Case, StepModel, int, int], Run]  # with numbers of replicas and of the repeat
Way = Literal["load", "repeat", "none"]


@dataclass(frozen=True, slots=True)
class Scaled(StepModel):
    """A step model whose steps all take ``factor`` times as long.

    ``drawn`` has the noise of one server after the other, if it was drawn before.
    """

    model: StepModel
    factor: float = 1.0
    drawn: Iterator[Noise] | None = None

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        """Return the model's time, scaled."""
        return self.factor * self.model.prefill_seconds(tokens, context, prompts)

    def decode_line(self, rows: int) -> tuple[float, float]:
        """Return the model's times, scaled."""
        begin, per_token = self.model.decode_line(rows)
        return self.factor * begin, self.factor * per_token

    def noises(self, rng: np.random.Generator, servers: int) -> Sequence[Noise]:
        """Return the noise of the next servers, which is relative to the times of their steps."""
        return list(islice(self.drawn, servers)) if self.drawn else self.model.noises(rng, servers)

    def of(self, replicas: int) -> Scaled:
        """Return the model of one of some replicas, scaled."""
        return Scaled(self.model.of(replicas), self.factor, self.drawn)

    @property
    def prefill_tokens(self) -> int:
        """The model's most prompt tokens of a prefill step."""
        return self.model.prefill_tokens


@dataclass(frozen=True, slots=True)
class Predicted:
    """A percentile of a held-out load, measured and predicted, over ``n`` requests.

    ``factor`` is the step-time factor at which the prediction equals the measurement.
    """

    metric: str
    measured: float
    predicted: float
    n: int
    factor: float

    @property
    def error(self) -> float:
        """The relative error of the prediction."""
        return self.predicted / self.measured - 1

    @property
    def is_supported(self) -> bool:
        """Whether the percentile has as many samples as it needs."""
        return self.n >= METRICS[self.metric].min_samples


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Measured runs of one load (or one repeat), predicted from all others."""

    label: str
    runs: int
    figures: tuple[Predicted, ...]


@dataclass(frozen=True, slots=True)
class Validation:
    """The held-out loads; or the held-out repeats of a single load; or why there are none."""

    way: Way
    held_out: tuple[HeldOut, ...] = ()

    @property
    def supported(self) -> list[Predicted]:
        """The percentiles that have as many samples as they need."""
        return [p for part in self.held_out for p in part.figures if p.is_supported]

    @property
    def largest_error(self) -> float | None:
        """The relative error of the largest absolute value; None if nothing was predicted."""
        return max((p.error for p in self.supported), key=abs, default=None)

    @property
    def spread(self) -> float:
        """The root mean square of the logarithms of the step-time factors; 0 without any."""
        logs = [np.log(p.factor) for p in self.supported]
        return float(np.sqrt(np.mean(np.square(logs)))) if logs else 0.0


def validate(runs: Sequence[Run], fit: Fit, simulate: Simulate) -> Validation:
    """Return how well each load of some runs is predicted by a fit to the other loads.

    Runs of a single load are predicted repeat by repeat instead. A prediction simulates the same
    repeats, which have the same requests at the same times.
    """
    groups, way = _groups(runs)
    if len(groups) < FEWEST_GROUPS:
        return Validation("none")
    held_out = [
        _held_out(label, group, fit(_without(groups, label)), simulate)
        for label, group in groups.items()
    ]
    return Validation(way, tuple(held_out))


def _groups(runs: Sequence[Run]) -> tuple[dict[str, list[Run]], Way]:
    loads = sources.by_load(runs)
    if len(loads) >= FEWEST_GROUPS:
        return loads, "load"
    ordered = sorted(runs, key=_repeat)
    return {f"repeat {r}": list(of_repeat) for r, of_repeat in groupby(ordered, _repeat)}, "repeat"


def _repeat(run: Run) -> int:
    return run.repeat


def _without(groups: Mapping[str, Sequence[Run]], label: str) -> list[Run]:
    return [run for other, group in groups.items() if other != label for run in group]


def _held_out(label: str, group: Sequence[Run], model: StepModel, simulate: Simulate) -> HeldOut:
    predictions = [predicted(group, model, simulate, factor) for factor in FACTORS]
    measured = typical([run.records for run in group])
    figures = (
        Predicted(
            metric,
            value,
            predictions[FACTORS.index(1.0)][metric][0],
            n,
            _factor(value, [at[metric][0] for at in predictions]),
        )
        for metric, (value, n) in measured.items()
        if value > 0 and all(metric in at for at in predictions)
    )
    return HeldOut(label, len(group), tuple(figures))


def predicted(
    group: Sequence[Run], model: StepModel, simulate: Simulate, factor: float = 1.0
) -> dict[str, tuple[float, int]]:
    """Return the typical percentiles of the runs of a load, simulated with a model.

    Each is simulated so often that there are FEWEST_SIMULATED. The noise of all their servers is
    drawn at once, so that each measured engine is the first of equally many.
    """
    case, repeats = group[0].case, -(-FEWEST_SIMULATED // len(group))
    replicas, runs = sources.replicas_of(case), list(group) * repeats
    noises = model.of(fitted_replicas(case)).noises(
        stream(case.scenario.seed, "noise"), replicas * len(runs)
    )
    scaled = Scaled(model, factor, iter(noises))
    return typical([simulate(run.case, scaled, replicas, run.repeat).records for run in runs])


def typical(tables: Sequence[pa.Table]) -> dict[str, tuple[float, int]]:
    """Return FIGURES, each as its geometric mean over runs, with the number of samples in all.

    The percentile of pooled requests would be that of the slowest run alone.
    """
    arrays = [RecordArrays(table) for table in tables]
    return dict(_means(arrays))


def _means(arrays: Sequence[RecordArrays]) -> Iterator[tuple[str, tuple[float, int]]]:
    for metric in FIGURES:
        quantity, _, _ = metric.partition("_")
        samples = [values for of_run in arrays if len(values := getattr(of_run, quantity))]
        if samples:
            values = [percentile(values, METRICS[metric].percent or 0) for values in samples]
            yield metric, (float(gmean(values)), sum(map(len, samples)))


def _factor(measured: float, predictions: Sequence[float]) -> float:
    """Return the step-time factor at which a percentile has its measured value.

    Interpolated linearly between the logarithms of FACTORS and of the predictions at them, and
    continued beyond them in proportion. At most the error itself: a latency grows at least as much
    as the steps in it, and where rare events make it vary, more than with them, nothing can be
    interpolated.
    """
    logs = np.maximum.accumulate(np.log(predictions))  # noise may exceed the effect of a factor
    factors, target = np.log(FACTORS), float(np.log(measured))
    inside = float(np.interp(target, logs, factors))
    beyond = target - float(np.clip(target, logs[0], logs[-1]))
    error = target - float(np.log(predictions[FACTORS.index(1.0)]))
    return float(np.exp(np.clip(inside + beyond, min(0.0, error), max(0.0, error))))
