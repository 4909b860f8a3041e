"""The smallest number of replicas at a load, and its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from simulated_loads import Service, case, queued

from llmbench.scenario.cases import Case
from llmbench.simulation.occupancy import Occupancy
from llmbench.simulation.running_costs import Meter
from llmbench.simulation.smallest import Point, Question, answers, first
from llmbench.simulation.validation import HeldOut, Predicted, Validation

SOURCE = queued(case(rate=2.0), Service(), 1, 1)
NOWHERE: Callable[[Occupancy], Sequence[str]] = lambda _: ()  # noqa: E731


def validation(factor: float, loads: int = 4) -> Validation:
    """A validation whose predictions were off by a step-time factor at each load."""
    figure = Predicted("ttft_p50", 1.0, 1 / factor, 100, factor)
    return Validation("load", tuple(HeldOut(f"{n}/s", 1, (figure,)) for n in range(loads)))


def point(asked: Case, **more: Any) -> Point:
    fields = {
        "cases": [asked], "counts": range(1, 17), "model": Service(0.25), "simulate": queued,
        "check": NOWHERE, "validation": validation(1.0), "meter": Meter([SOURCE]), "draws": 9,
    }  # fmt: skip
    (found,) = answers(Question(**{**fields, **more}))
    return found


@pytest.mark.parametrize("smallest", [0, 1, 5, 12])
@pytest.mark.parametrize("start", [0, 6, 12])
def test_the_first_index_is_found_from_anywhere(smallest: int, start: int) -> None:
    assert first(lambda index: index >= smallest, 13, start) == smallest


def test_nothing_is_found_where_nothing_holds() -> None:
    assert first(lambda _: False, 13, 4) is None


def test_few_indices_are_tried() -> None:
    tried: list[int] = []

    def holds(index: int) -> bool:
        tried.append(index)
        return index >= 700

    assert first(holds, 1000, 690) == 700
    assert len(tried) < 12


def test_a_queue_is_held_by_as_many_replicas_as_its_load_keeps_busy() -> None:
    found = point(case(rate=31.0))  # 0.25 s each: 7.75 replicas are busy
    assert found.smallest is not None
    assert found.smallest.replicas == 8
    assert found.smallest.busy == pytest.approx(7.75 / 8, abs=0.05)
    assert (found.low, found.high) == (8, 8)


def test_every_load_has_cells_at_the_same_numbers_of_replicas() -> None:
    few, many = point(case(rate=7.0)), point(case(rate=50.0))
    common = {cell.replicas for cell in few.cells} & {cell.replicas for cell in many.cells}
    assert {1, 2, 4, 16} <= common
    shares = [cell.attainment or 0.0 for cell in many.cells]
    assert shares == sorted(shares)  # of replicas in ascending order
    assert shares[-1] == 1.0


def test_a_load_that_no_number_of_replicas_holds_has_no_answer_and_no_upper_end() -> None:
    found = point(case(rate=100.0))
    assert found.smallest is None
    assert found.costs is None
    assert (found.low, found.high) == (None, None)


def test_the_error_of_the_step_times_widens_the_interval() -> None:
    exact, off = point(case(rate=31.0)), point(case(rate=31.0), validation=validation(1.1))
    assert exact.low == exact.high == 8
    assert off.low is not None
    assert off.high is not None
    assert off.low < 8 < off.high


def test_the_factors_are_quantiles_of_student_with_the_spread_of_the_validation() -> None:
    asked = Question(
        [case()], (1,), Service(), queued, NOWHERE, validation(1.1), Meter([SOURCE]), 10
    )
    logs = np.sort(np.log(asked.factors)) / np.log(1.1)
    assert logs == pytest.approx(-logs[::-1], abs=1e-12)
    assert logs[-1] == pytest.approx(2.1318, abs=1e-4)  # 95 % of Student's with 4 degrees
    assert logs[4] == pytest.approx(-0.1341, abs=1e-3)  # 45 %


def test_the_range_of_39_draws_is_an_interval_of_95_percent() -> None:
    asked = Question([case()], (1,), Service(), queued, NOWHERE, validation(1.1), Meter([SOURCE]))
    assert (asked.draws, asked.confidence) == (39, 0.95)


def test_a_repetition_gives_the_same_interval() -> None:
    one, other = (point(case(rate=31.0), validation=validation(1.05)) for _ in range(2))
    assert (one.low, one.high) == (other.low, other.high)


def above_two(fullest: Occupancy) -> tuple[str, ...]:
    return ("too many",) if fullest.prompt_tokens > 2 else ()


def test_what_lies_outside_of_the_measured_range_is_no_answer() -> None:
    found = point(case(rate=31.0), check=above_two)
    assert found.smallest is None
    assert next(cell.outside for cell in found.cells if cell.meets) == ("too many",)


def test_an_extrapolated_answer_says_so() -> None:
    found = point(case(rate=31.0), check=above_two, extrapolate=True)
    assert found.smallest is not None
    assert found.smallest.replicas == 8
    assert found.smallest.outside == ("too many",)


def test_costs_that_were_not_measured_have_their_reason() -> None:
    found = point(case(rate=31.0, price_per_hour=3.0))
    assert found.costs is not None
    assert found.costs.price_per_hour.value == 24.0  # of 8 replicas
    per_million = found.costs.cost_per_million_output_tokens.value
    rate = 2 * 92 / (99 / 31)  # 92 answers of two tokens end within the window
    assert per_million == pytest.approx(24e6 / 3600 / rate)
    assert found.costs.power_watts.value is None
    assert "does not collect `energy`" in str(found.costs.power_watts.reason)
