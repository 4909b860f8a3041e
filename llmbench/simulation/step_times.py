"""The model of an engine's step times, fitted to the steps of measured runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np

from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.simulation import basis
from llmbench.simulation.draws import NO_NOISE, Noise, Variation, repeated
from llmbench.simulation.fitting import Fitted, Residuals, factors, fitted, residuals
from llmbench.simulation.steps import EngineSteps, Steps, reconstruct

FEWEST_STEPS = 100  # of each kind
MEANINGS = {
    "tokens": "tokens per prefill step",
    "rows": "sequences per decode step",
    "depth": "cached tokens per decode step",
}
IN_PROCESS = 0  # replicas of a backend that runs in the process of the load


class StepModel(Protocol):
    """How long the steps of an engine take, in seconds."""

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        """Return the time of a step that prefills ``prompts`` chunks of ``tokens`` in total.

        ``context`` is the number of tokens that are cached before them.
        """

    def decode_line(self, rows: int) -> tuple[float, float]:
        """Return the time of a decode step of sequences with no cached tokens, and per such token.

        A decode step of ``rows`` sequences with ``depth`` cached tokens in total takes the first
        plus ``depth`` times the second. More rows take no less time.
        """

    def decode_seconds(self, rows: int, depth: float) -> float:
        """Return the time of a decode step of ``rows`` sequences, which have cached ``depth``."""
        begin, per_token = self.decode_line(rows)
        return begin + per_token * depth

    def noises(self, rng: np.random.Generator, servers: int) -> Sequence[Noise]:  # noqa: ARG002 (the default)
        """Return how the times of each server vary; by default, they do not."""
        return [NO_NOISE] * servers

    def of(self, replicas: int) -> StepModel:  # noqa: ARG002 (the default)
        """Return the model of one of some replicas; IN_PROCESS: of a backend without replicas."""
        return self

    @property
    def prefill_tokens(self) -> int:
        """The most prompt tokens of a prefill step where the scenario has `auto`."""
        return 1


class Range(msgspec.Struct, frozen=True):
    """The least and the most of a variable in the steps of a fit."""

    least: float
    most: float

    def has(self, value: float) -> bool:
        """Return whether a value is within the range."""
        return self.least <= value <= self.most


class FitReport(msgspec.Struct, frozen=True):
    """What a fit found, and from what.

    ``coefficients`` are by kind of step and term, in ``units``. ``residuals`` are relative: the
    root mean square, and the median and 95th percentile of the absolute values, for each kind that
    ran alone. ``ranges`` has those of each variable, ``steps`` the number of each kind.
    """

    coefficients: dict[str, dict[str, float]]
    units: dict[str, str]
    residuals: dict[str, Residuals]
    ranges: dict[str, Range]
    steps: dict[str, int]
    sources: tuple[str, ...]
    replicas: int


@dataclass(frozen=True)
class StepTimes:
    """Step times fitted to measured runs, and how they vary.

    ``prefill``, ``decode`` and ``wakes_apart`` are those of `Fitted`, ``variations`` those of the
    measured engines. ``others`` are the fits for other numbers of replicas than that of ``fit``.
    """

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    wakes_apart: bool
    variations: tuple[Variation, ...]
    prefill_tokens: int
    fit: FitReport
    others: tuple[StepTimes, ...] = ()

    def prefill_seconds(self, tokens: int, context: int = 0, prompts: int = 1) -> float:
        """Return the mean time of a step that prefills ``prompts`` chunks of ``tokens`` in total.

        ``context`` is the number of tokens that are cached before them.
        """
        return basis.prefill_value(self.prefill, tokens, context, prompts)

    def decode_line(self, rows: int) -> tuple[float, float]:
        """Return the mean time of a decode step without cached tokens, and per such token."""
        return basis.decode_line(self.decode, rows)

    def decode_seconds(self, rows: int, depth: float) -> float:
        """Return the mean time of a decode step of sequences with ``depth`` cached tokens."""
        begin, per_token = self.decode_line(rows)
        return begin + per_token * depth

    def noises(self, rng: np.random.Generator, servers: int) -> Sequence[Noise]:
        """Return how the times of each server vary: as those of measured engines did."""
        return repeated(self.variations, rng, servers)

    def variation(self, engine: EngineSteps) -> Variation:
        """Return how the times of a measured engine differed from these."""
        return _variation(Fitted(self.prefill, self.decode, self.wakes_apart), engine)

    def of(self, replicas: int) -> StepTimes:
        """Return the fit for a number of replicas: the same, else the next smaller, else the next.

        IN_PROCESS is that of a backend without replicas.
        """
        fits = sorted((self, *self.others), key=lambda one: one.fit.replicas)
        index = bisect_right([one.fit.replicas for one in fits], replicas) - 1
        return fits[max(0, index)]

    def check(
        self, *, tokens: int | None = None, rows: int | None = None, depth: int | None = None
    ) -> tuple[str, ...]:
        """Return why a step is outside the range of the fit; nothing if it is inside.

        ``tokens`` are those of a prefill step, ``rows`` and ``depth`` those of a decode step.
        """
        given = {"tokens": tokens, "rows": rows, "depth": depth}
        return tuple(
            f"{value:,} {MEANINGS[name]} are outside the measured range of {limits.least:,g} to "
            f"{limits.most:,g}"
            for name, value in given.items()
            if value is not None and not (limits := self.fit.ranges[name]).has(value)
        )


@dataclass(frozen=True, slots=True)
class _Sample:
    """The engines of runs with one number of replicas, and the steps of all of them."""

    replicas: int
    runs: tuple[Run, ...]
    engines: tuple[EngineSteps, ...]
    steps: Steps


def fit(runs: Sequence[Run]) -> StepTimes:
    """Return step times fitted to runs of one case at one or several loads.

    Runs with different numbers of replicas are fitted apart, since replicas on one machine slow
    each other down. Raises InputError if runs have no steps, or too few.
    """
    by_replicas: dict[int, list[Run]] = {}
    for run in runs:
        by_replicas.setdefault(fitted_replicas(run.case), []).append(run)
    if not by_replicas:
        raise InputError("step times: there is no run to fit them to; measure one first")
    fits = [_fit(_sample(count, own)) for count, own in sorted(by_replicas.items())]
    return replace(fits[0], others=tuple(fits[1:]))


def fitted_replicas(case: Case) -> int:
    """Return the number of replicas whose fit is that of a case; IN_PROCESS without replicas."""
    options = case.scenario.replicas
    return options.size if options else IN_PROCESS


def _sample(replicas: int, runs: list[Run]) -> _Sample:
    engines = tuple(engine for run in runs for engine in reconstruct(run))
    steps = Steps.joined([engine.steps for engine in engines])
    return _Sample(replicas, tuple(runs), engines, steps)


def _fit(sample: _Sample) -> StepTimes:
    steps = sample.steps
    numbers = {"prefill": int((steps.prefills > 0).sum()), "decode": int((steps.rows > 0).sum())}
    if few := [f"{count} {kind} steps" for kind, count in numbers.items() if count < FEWEST_STEPS]:
        raise InputError(
            f"step times: the runs have only {' and '.join(few)}, and {FEWEST_STEPS} of each kind "
            "are needed; measure longer runs with several output tokens"
        )
    result = fitted(steps)
    return StepTimes(
        prefill=result.prefill,
        decode=result.decode,
        wakes_apart=result.wakes_apart,
        variations=tuple(_variation(result, engine) for engine in sample.engines),
        prefill_tokens=_prefill_tokens(sample.runs),
        fit=_report(sample, result, numbers),
    )


def _variation(fit: Fitted, engine: EngineSteps) -> Variation:
    varied = factors(fit, engine.steps)
    return Variation(varied.prefill, varied.decode, engine.lags, varied.wake)


def _prefill_tokens(runs: Sequence[Run]) -> int:
    """Return the most prompt tokens of a prefill step that the runs' backends had."""
    effective = runs[0].backend_report.get("effective") or {}
    return int(effective.get("prefill_tokens") or 1)


def _report(sample: _Sample, result: Fitted, numbers: dict[str, int]) -> FitReport:
    steps = sample.steps
    varied = factors(result, steps)
    prefills, decodes = steps.where(steps.prefills > 0), steps.where(steps.rows > 0)
    variables = {
        "tokens": prefills.tokens, "context": prefills.context, "prompts": prefills.prompts,
        "rows": decodes.rows, "depth": decodes.depth,
    }  # fmt: skip
    return FitReport(
        coefficients={
            "prefill": dict(zip(basis.PREFILL, result.prefill, strict=True)),
            "decode": dict(zip(basis.DECODE, result.decode, strict=True)),
        },
        units={**basis.PREFILL, **basis.DECODE},
        residuals={
            kind: residuals(ratios)
            for kind, ratios in (("prefill", varied.prefill), ("decode", varied.decode))
            if len(ratios)
        },
        ranges={
            name: Range(float(values.min()), float(values.max()))
            for name, values in variables.items()
        },
        steps=numbers,
        sources=tuple(f"{run.name}" for run in sample.runs),
        replicas=sample.replicas,
    )
