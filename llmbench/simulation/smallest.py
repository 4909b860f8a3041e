"""The smallest number of replicas that meets the objectives at each load, with its interval."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.metrics import RecordArrays, summarize
from llmbench.analysis.metrics.summary import meets_objectives
from llmbench.analysis.slo_attainment import AttainedPercentile, exceedances, percentiles
from llmbench.analysis.stats import student_quantiles
from llmbench.runs.run import Run
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream
from llmbench.scenario.slo import Objective
from llmbench.simulation.grid import coarse
from llmbench.simulation.occupancy import Occupancy, busy_share, mean_rows, occupancy
from llmbench.simulation.running_costs import Meter, RunningCosts
from llmbench.simulation.step_times import StepModel
from llmbench.simulation.validation import Scaled, Simulate, Validation

POOLED = 3  # runs of a cell, whose requests are pooled
DRAWS = 39  # their range is a 95 % interval
COARSE = 12  # numbers of replicas that are simulated at every load

Check = Callable[[Occupancy], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A number of replicas at a load: the percentile of each objective over pooled requests.

    ``attainment`` is the share of requests that meet all objectives (None: these are of jobs),
    ``busy`` that of the time in which a replica is busy, ``slots`` that of its slots in use on
    average. ``outside`` says in which quantities a cell that meets the objectives lies outside of
    what was measured.
    """

    replicas: int
    percentiles: tuple[AttainedPercentile, ...]
    attainment: float | None
    busy: float
    slots: float
    outside: tuple[str, ...]

    @property
    def meets(self) -> bool:
        """Whether the percentile of every objective is within its bound."""
        return _meet(self.percentiles)


@dataclass(frozen=True, slots=True)
class Point:
    """The answer at a load: all simulated cells, and the smallest that meets the objectives.

    ``low`` and ``high`` are the ends of the interval; None: above all numbers of replicas.
    ``requests`` is the number of one run.
    """

    case: Case
    requests: int
    cells: tuple[Cell, ...]
    smallest: Cell | None
    low: int | None
    high: int | None
    costs: RunningCosts | None


@dataclass(frozen=True)
class Question:
    """Cases at several loads, numbers of replicas in ascending order, and the fitted step times.

    ``check`` returns what lies outside of the measured range; with ``extrapolate``, such cells may
    be answers. ``draws`` are the repetitions from which intervals come.
    """

    cases: Sequence[Case]
    counts: Sequence[int]
    model: StepModel
    simulate: Simulate
    check: Check
    validation: Validation
    meter: Meter
    draws: int = DRAWS
    extrapolate: bool = False

    @cached_property
    def factors(self) -> NDArray[np.float64]:
        """The step-time factor of each draw.

        f = exp(σ t), where σ is the spread of the validation and t are evenly spaced quantiles of
        Student's distribution with as many degrees of freedom as loads were held out, in an order
        drawn by the seed.
        """
        shares = (np.arange(self.draws) + 0.5) / self.draws
        degrees = max(1, len(self.validation.held_out))
        factors = np.exp(self.validation.spread * student_quantiles(shares, degrees))
        rng = stream(self.cases[0].scenario.seed, "step-time factors")
        return factors[rng.permutation(self.draws)]

    @property
    def confidence(self) -> float:
        """The coverage of the range of some draws for one more: (n − 1) / (n + 1)."""
        return (self.draws - 1) / (self.draws + 1)


def answers(question: Question) -> Iterator[Point]:
    """Yield the answer at each load."""
    for case in question.cases:
        yield _Search(question, case).point()


@dataclass
class _Search:
    """The search for the smallest number of replicas at one load."""

    question: Question
    case: Case
    cells: dict[int, Cell] = field(default_factory=dict)
    requests: int = 0

    def point(self) -> Point:
        counts = self.question.counts
        for replicas in coarse(counts, COARSE):
            self._cell(replicas)
        start = next((i for i, n in enumerate(counts) if n in self.cells and self._holds(i)), None)
        last = len(counts) - 1
        index = first(self._holds, len(counts), last if start is None else start)
        low, high = self._interval(index)
        smallest = None if index is None else self.cells[counts[index]]
        return Point(
            self.case,
            self.requests,
            tuple(self.cells[replicas] for replicas in sorted(self.cells)),
            smallest,
            low,
            high,
            self._costs(smallest) if smallest else None,
        )

    def _holds(self, index: int) -> bool:
        cell = self._cell(self.question.counts[index])
        return cell.meets and (self.question.extrapolate or not cell.outside)

    def _cell(self, replicas: int) -> Cell:
        if replicas not in self.cells:
            self.cells[replicas] = self._pooled(replicas)
        return self.cells[replicas]

    def _pooled(self, replicas: int) -> Cell:
        question = self.question
        runs = [
            question.simulate(self.case, question.model, replicas, repeat + 1)
            for repeat in range(POOLED)
        ]
        self.requests = runs[0].records.num_rows
        arrays = [RecordArrays(run.records) for run in runs]
        attained = tuple(percentiles(runs, arrays))
        outside = tuple(self._outside(*runs)) if _meet(attained) else ()
        busy = float(np.mean([busy_share(run, replicas) for run in runs]))
        rows = float(np.mean([mean_rows(run, replicas) for run in runs]))
        return Cell(
            replicas,
            attained,
            _attainment(arrays, self.case.spec["slo"]),
            busy,
            rows / self.case.scenario.engine.slots,
            outside,
        )

    def _outside(self, *runs: Run) -> Sequence[str]:
        return self.question.check(occupancy(*runs))

    def _interval(self, answer: int | None) -> tuple[int | None, int | None]:
        """Return the range of the smallest numbers of replicas of all draws and of the answer."""
        counts, size = self.question.counts, len(self.question.counts)
        start = size - 1 if answer is None else answer
        draws = range(self.question.draws)
        indices = [first(partial(self._draw_holds, draw), size, start) for draw in draws]
        indices.append(answer)
        known = [counts[index] for index in indices if index is not None]
        return min(known, default=None), max(known) if len(known) == len(indices) else None

    def _draw_holds(self, draw: int, index: int) -> bool:
        question = self.question
        scaled = Scaled(question.model, float(question.factors[draw]))
        run = question.simulate(self.case, scaled, question.counts[index], draw + 1)
        met = all(exceedance.met for exceedance in exceedances(run))
        return met and (question.extrapolate or not self._outside(run))

    def _costs(self, cell: Cell) -> RunningCosts:
        run = self.question.simulate(self.case, self.question.model, cell.replicas, 1)
        rate = summarize(run)["output_tokens_per_second"].value or 0.0
        return self.question.meter.at(self.case, cell.replicas, cell.busy, rate)


def first(holds: Callable[[int], bool], size: int, start: int) -> int | None:
    """Return the first of ``size`` indices that holds, if all after it do; None if none does.

    The search goes out from ``start`` in growing steps, and bisects between the last index that
    does not hold and the first that does.
    """
    below, above, at, step = -1, size, start, 1
    while above - below > 1:
        below, above = (below, at) if holds(at) else (at, above)
        if below < 0:
            at = max(0, above - step)
        elif above == size:
            at = min(size - 1, below + step)
        else:
            at = (below + above) // 2
        step *= 2
    return above if above < size else None


def _meet(attained: Sequence[AttainedPercentile]) -> bool:
    return all(one.value <= one.bound for one in attained)


def _attainment(arrays: Sequence[RecordArrays], slo: dict[str, float]) -> float | None:
    """Return the share of requests that meet all objectives of requests; None without any."""
    of_requests = {key: bound for key, bound in slo.items() if not Objective.of(key).is_of_jobs}
    judged = sum(of_run.judged for of_run in arrays)
    if not of_requests or not judged:
        return None
    return sum(int(meets_objectives(of_run, of_requests).sum()) for of_run in arrays) / judged
