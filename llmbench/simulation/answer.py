"""How many replicas a load needs: the answer at every load, and what it is based on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from llmbench.errors import InputError
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.replicas import ReplicasOptions
from llmbench.scenario.schema import Scenario
from llmbench.simulation.occupancy import Occupancy
from llmbench.simulation.running_costs import Meter
from llmbench.simulation.smallest import DRAWS, Point, Question, answers
from llmbench.simulation.sources import by_load, doubts
from llmbench.simulation.step_times import FitReport, StepTimes, fit
from llmbench.simulation.traffic import sized
from llmbench.simulation.validation import Simulate, Validation, validate


@dataclass(frozen=True, slots=True)
class CapacityAnswer:
    """The answers at all loads, and what they are based on.

    ``name`` is the scenario's, ``counts`` has the numbers of replicas, ``balance`` the policy that
    divides requests among them. ``sources`` has the number of measured runs by load, ``doubts``
    sentences on them; ``fit`` describes the step times.
    """

    name: str
    description: str
    slo: dict[str, float]
    counts: tuple[int, ...]
    balance: str
    points: tuple[Point, ...]
    validation: Validation
    fit: FitReport
    sources: dict[str, int]
    doubts: tuple[str, ...]
    draws: int
    confidence: float
    extrapolate: bool

    @property
    def is_complete(self) -> bool:
        """Whether some number of replicas meets the objectives at every load."""
        return all(point.smallest for point in self.points)


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of a simulation besides its loads: see `Question`."""

    counts: tuple[int, ...]
    draws: int = DRAWS
    extrapolate: bool = False


def answer(
    scenario: Scenario,
    cases: Sequence[Case],
    runs: Sequence[Run],
    asked: Options,
    simulate: Simulate,
) -> CapacityAnswer:
    """Return how many replicas each case of a scenario needs, by step times fitted to some runs.

    Raise InputError if there are answers only outside of what was measured, unless allowed.
    """
    model = fit(runs)
    question = Question(
        [sized(case, scenario) for case in cases],
        asked.counts,
        model,
        simulate,
        partial(_outside, model, scenario.engine.prefill_chunk),
        validate(runs, fit, simulate),
        Meter(runs),
        asked.draws,
        asked.extrapolate,
    )
    points = tuple(answers(question))
    _refuse_outside(points)
    return CapacityAnswer(
        scenario.name,
        scenario.description,
        scenario.slo,
        asked.counts,
        scenario.replicas.balance if scenario.replicas else ReplicasOptions(count=1).balance,
        points,
        question.validation,
        model.fit,
        {load: len(of_load) for load, of_load in by_load(runs).items()},
        tuple(doubts(runs)),
        asked.draws,
        question.confidence,
        asked.extrapolate,
    )


def _refuse_outside(points: Sequence[Point]) -> None:
    """Raise InputError if there are answers only outside of the range of the fit."""
    beyond = [cell.outside for point in points for cell in reversed(point.cells) if cell.outside]
    if beyond and not any(point.smallest for point in points):
        raise InputError(
            f"simulate: {'; '.join(beyond[0])}; measure runs with such steps, or allow "
            "extrapolation with --extrapolate"
        )


def _outside(model: StepTimes, chunk: int | None, full: Occupancy) -> tuple[str, ...]:
    """Return in which quantities the steps of a simulation lie outside of the fit's range."""
    tokens = min(full.prompt_tokens, chunk or full.prompt_tokens)
    return model.check(tokens=tokens, rows=full.rows or None, depth=full.depth or None)
