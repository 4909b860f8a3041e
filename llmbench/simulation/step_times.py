"""The model of an engine's step times, fitted to the steps of measured runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.scenario.replicas import ReplicasOptions
from llmbench.simulation import basis
from llmbench.simulation.draws import NO_NOISE, Noise, blocks
from llmbench.simulation.fitting import Fitted, Residuals, fitted
from llmbench.simulation.steps import Steps, reconstruct

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
        plus ``depth`` times the second.
        """

    def decode_seconds(self, rows: int, depth: float) -> float:
        """Return the time of a decode step of ``rows`` sequences, which have cached ``depth``."""
        begin, per_token = self.decode_line(rows)
        return begin + per_token * depth

    def noise(self, rng: np.random.Generator) -> Noise:  # noqa: ARG002 (the default)
        """Return how the times of one server vary; by default, they do not."""
        return NO_NOISE

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

    ``coefficients`` are by kind of step and term, in ``units``. ``residuals`` are relative: for
    each kind the root mean square, and the median and 95th percentile of the absolute values.
    ``ranges`` has those of each variable, ``steps`` the number of each kind.
    """

    coefficients: dict[str, dict[str, float]]
    units: dict[str, str]
    residuals: dict[str, Residuals]
    ranges: dict[str, Range]
    steps: dict[str, int]
    sources: tuple[str, ...]
    replicas: int


class StepTimes(msgspec.Struct, frozen=True, dict=True):
    """Step times fitted to measured runs, and how they vary.

    ``prefill`` and ``decode`` have the coefficient of each term. The factors are those by which
    the measured steps of each kind differed from the fit, in their order; ``lags`` are the times
    in seconds until an idle server saw a request, and ``wake_factors`` those of the prefill steps
    that followed; empty if they are too few to tell from others. ``others`` are the fits for other
    numbers of replicas than that of ``fit``.
    """

    prefill: tuple[float, ...]
    decode: tuple[float, ...]
    prefill_factors: tuple[float, ...]
    decode_factors: tuple[float, ...]
    lags: tuple[float, ...]
    prefill_tokens: int
    fit: FitReport
    others: tuple[StepTimes, ...] = ()
    wake_factors: tuple[float, ...] = ()

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

    def noise(self, rng: np.random.Generator) -> Noise:
        """Return how the times of one server vary: as the measured ones did, in blocks of these."""
        streams = zip(self._pools, rng.spawn(len(self._pools)), strict=True)
        return Noise(*(blocks(pool, own) if len(pool) else None for pool, own in streams))

    @cached_property
    def _pools(self) -> tuple[NDArray[np.float64], ...]:
        """The factors and lags as arrays, in the order of `Noise`."""
        pools = (self.prefill_factors, self.decode_factors, self.lags, self.wake_factors)
        return tuple(map(np.array, pools))

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

    def as_dict(self) -> dict[str, Any]:
        """Return the model as plain data."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the model from plain data; raises msgspec.ValidationError if it is not one."""
        return msgspec.convert(data, cls)


@dataclass(frozen=True, slots=True)
class _Sample:
    """The steps and lags of runs with one number of replicas."""

    replicas: int
    runs: tuple[Run, ...]
    steps: Steps
    lags: tuple[float, ...]


def fit(runs: Sequence[Run]) -> StepTimes:
    """Return step times fitted to runs of one case at one or several loads.

    Runs with different numbers of replicas are fitted apart, since replicas on one machine slow
    each other down. Raises InputError if runs have no steps, or too few.
    """
    by_replicas: dict[int, list[Run]] = {}
    for run in runs:
        by_replicas.setdefault(_replicas(run), []).append(run)
    if not by_replicas:
        raise InputError("step times: there is no run to fit them to; measure one first")
    fits = [_fit(_sample(count, own)) for count, own in sorted(by_replicas.items())]
    return msgspec.structs.replace(fits[0], others=tuple(fits[1:]))


def _replicas(run: Run) -> int:
    options = run.case.spec.get("replicas")
    return ReplicasOptions.model_validate(options).size if options else IN_PROCESS


def _sample(replicas: int, runs: list[Run]) -> _Sample:
    parts = [reconstruct(run) for run in runs]
    lags = np.concatenate([part.lags for part in parts])
    steps = Steps.joined([part.steps for part in parts])
    return _Sample(replicas, tuple(runs), steps, tuple(lags.tolist()))


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
        prefill_factors=result.prefill_factors,
        decode_factors=result.decode_factors,
        lags=sample.lags or (0.0,),
        wake_factors=result.wake_factors,
        prefill_tokens=_prefill_tokens(sample.runs),
        fit=_report(sample, result, numbers),
    )


def _prefill_tokens(runs: Sequence[Run]) -> int:
    """Return the most prompt tokens of a prefill step that the runs' backends had."""
    effective = runs[0].backend_report.get("effective") or {}
    return int(effective.get("prefill_tokens") or 1)


def _report(sample: _Sample, result: Fitted, numbers: dict[str, int]) -> FitReport:
    steps = sample.steps
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
        residuals=result.residuals,
        ranges={
            name: Range(float(values.min()), float(values.max()))
            for name, values in variables.items()
        },
        steps=numbers,
        sources=tuple(f"{run.name}" for run in sample.runs),
        replicas=sample.replicas,
    )
