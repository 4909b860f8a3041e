"""Numbers of replicas by load: sentences, tables, the page and the JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from simulated_loads import Service, case, queued

from llmbench import report
from llmbench.report import capacity, palette
from llmbench.report.capacity_page import attainment, needed
from llmbench.report.table import Column
from llmbench.simulation.answer import CapacityAnswer
from llmbench.simulation.fitting import Residuals
from llmbench.simulation.running_costs import Meter
from llmbench.simulation.smallest import Question, answers
from llmbench.simulation.step_times import FitReport, Range
from llmbench.simulation.validation import HeldOut, Predicted, Validation, Way

FIT = FitReport(
    coefficients={"prefill": {"per step": 0.25}, "decode": {"per row": 0.0}},
    units={"per step": "s", "per row": "s"},
    residuals={"prefill": Residuals(0.02, 0.01, 0.05)},
    ranges={"rows": Range(1, 8)},
    steps={"prefill": 700},
    sources=("fake-r1",),
    replicas=0,
)


def validation(predicted: float, way: Way = "load", n: int = 700) -> Validation:
    figure = Predicted("ttft_p99", 1.0, predicted, n, 1 / predicted)
    held_out = () if way == "none" else (HeldOut("2/s", 1, (figure,)), HeldOut("4/s", 1, (figure,)))
    return Validation(way, held_out)


def answered(
    *rates: float, predicted: float = 1.02, outside: tuple[str, ...] = ()
) -> CapacityAnswer:
    """An answer for queues with 0.25 s of service, on 1, 2, 4 or 8 replicas."""
    question = Question(
        [case(rate, price_per_hour=2.0) for rate in rates],
        (1, 2, 4, 8),
        Service(0.25),
        queued,
        lambda _: outside,
        validation(predicted),
        Meter([queued(case(2.0), Service(0.25), 1, 1)]),
        draws=3,
    )
    return CapacityAnswer(
        name="chat",
        description="A <b>chat</b>",
        slo={"ttft_p99": 0.5},
        counts=(1, 2, 4, 8),
        balance="round-robin",
        points=tuple(answers(question)),
        validation=question.validation,
        fit=FIT,
        sources={"2/s": 1, "4/s": 1},
        doubts=(),
        draws=3,
        confidence=question.confidence,
        extrapolate=False,
    )


@pytest.fixture(scope="module")
def answer() -> CapacityAnswer:
    """An answer at loads that need one replica, four, and more than there are."""
    return answered(3.0, 15.0, 60.0)


def test_the_answer_at_one_load_has_its_interval() -> None:
    first, *_ = capacity.sentences(answered(15.0))
    assert first == "At 15/s, 4 replicas meet the objectives (50 % interval 4)."


def test_the_answer_at_several_loads_has_the_ends_and_what_is_not_held(
    answer: CapacityAnswer,
) -> None:
    first, second, *_ = capacity.sentences(answer)
    assert first == "From 3/s to 15/s, the objectives need 1 to 4 replicas."
    assert second == "At 60/s, none of 1 to 8 replicas meets the objectives."


def test_a_small_error_is_stated(answer: CapacityAnswer) -> None:
    assert capacity.sentences(answer)[2] == (
        "Each of 2 loads was held out from the fit: all percentiles were predicted within 2.0 %, "
        "half of them within 2.0 %. As an error of step times, that is 2.0 %."
    )
    assert len(capacity.sentences(answer)) == 3


def test_an_error_above_ten_percent_is_said_plainly(answer: CapacityAnswer) -> None:
    *_, last = capacity.sentences(replace(answer, validation=validation(1.2)))
    assert last.startswith("An error above 10.0 % makes the interval wide")


def test_a_single_load_is_said_plainly(answer: CapacityAnswer) -> None:
    sentences = capacity.sentences(replace(answer, validation=validation(1.02, "repeat")))
    assert "no other load was held out" in sentences[2]
    assert "Each of 2 repeats was held out" in sentences[3]


@pytest.mark.parametrize(
    ("validated", "sentence"),
    [
        (validation(1.0, "none"), "The step times could not be checked"),
        (validation(1.0, n=100), "No held-out percentile has as many samples as it needs"),
    ],
)
def test_what_could_not_be_checked_is_said_plainly(
    answer: CapacityAnswer, validated: Validation, sentence: str
) -> None:
    *_, last = capacity.sentences(replace(answer, validation=validated))
    assert last.startswith(sentence)


def test_what_lies_outside_of_the_measured_range_is_named() -> None:
    sentences = capacity.sentences(answered(15.0, outside=("rows 9 is outside",)))
    assert sentences[0] == "At 15/s, none of 1 to 8 replicas meets the objectives."
    assert sentences[1].endswith("outside of what was measured: rows 9 is outside.")


def test_doubts_about_the_sources_follow(answer: CapacityAnswer) -> None:
    assert capacity.sentences(replace(answer, doubts=("A doubt.",)))[-1] == "A doubt."


def test_every_load_has_a_row_with_costs_or_the_reason(answer: CapacityAnswer) -> None:
    table = capacity.needed(answer)
    assert [row[0].text for row in table.rows] == ["3/s", "15/s", "60/s"]
    assert [row[1].value for row in table.rows] == [1, 4, None]
    assert table.rows[1][table.columns.index(_named(table.columns, "cost/h"))].value == 8.0
    assert "no number of replicas in the range meets the objectives (60/s)" in table.note


def _named(columns: tuple[Column, ...], label: str) -> Column:
    return next(column for column in columns if column.label == label)


def test_attainment_grows_with_the_replicas(answer: CapacityAnswer) -> None:
    _, middle, _ = capacity.grid(answer, 8).rows
    shares = [cell.value for cell in middle[1:]]
    assert len(shares) == 4
    assert shares[-2:] == [1.0, 1.0]
    assert shares[0] is not None
    assert shares[0] < 0.1


def test_percentiles_of_few_samples_are_marked(answer: CapacityAnswer) -> None:
    table = capacity.validation(replace(answer, validation=validation(1.1, n=100)))
    assert table.rows[0][1].text == "TTFT p99 †"
    assert table.rows[0][4].text == "+10.0 %"
    assert table.note == "† too few samples; not counted."


def test_the_json_is_plain(answer: CapacityAnswer) -> None:
    data = json.loads(json.dumps(capacity.as_dict(answer), allow_nan=False))
    assert [load["replicas"] for load in data["loads"]] == [1, 4, None]
    assert data["loads"][2]["high"] is None
    assert data["validation"]["held_out"][0]["percentiles"][0]["error"] == pytest.approx(0.02)
    assert data["step_times"]["ranges"]["rows"] == {"least": 1, "most": 8}


def test_the_page_is_escaped_and_has_every_part(answer: CapacityAnswer) -> None:
    page = report.render(answer, "html")
    assert "A &lt;b&gt;chat&lt;/b&gt;" in page
    for sentence in capacity.sentences(answer):
        assert sentence in page
    assert "Validation of the step times" in page
    assert page.count("<figure") == 2
    assert len(page) < 2 * 2**20


def test_the_charts_have_colors_that_a_dark_page_swaps(answer: CapacityAnswer) -> None:
    drawn = attainment(answer).figure.data[0]
    assert {color for _, color in drawn.colorscale} <= {*palette.SWAP}
    assert drawn.textfont.color in palette.SWAP


def test_a_number_without_an_upper_end_is_drawn_as_an_arrow() -> None:
    high = answered(31.0)
    (point,) = high.points
    unbounded = replace(high, points=(replace(point, high=None),))
    line = needed(unbounded).figure.data[0]
    assert line.marker.symbol == ("arrow-up",)
    assert line.error_y.array == (0,)  # up to the largest number of the range


def test_objectives_of_jobs_have_no_shares(answer: CapacityAnswer) -> None:
    cells = [
        tuple(replace(cell, attainment=None) for cell in point.cells) for point in answer.points
    ]
    points = tuple(
        replace(point, cells=of_point) for point, of_point in zip(answer.points, cells, strict=True)
    )
    of_jobs = replace(answer, points=points)
    assert attainment(of_jobs).empty == "The objectives are of jobs, not of requests."
    assert {cell.text for cell in capacity.grid(of_jobs, 8).rows[0][1:]} == {"met"}
