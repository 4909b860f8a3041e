"""The numbers of replicas that loads need, from simulated runs: sentences, tables and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import msgspec
import numpy as np

from llmbench.analysis.metrics import METRICS
from llmbench.analysis.slo_attainment import AttainedPercentile, label
from llmbench.report import table
from llmbench.report.charts import thin
from llmbench.report.sweep import LOADS
from llmbench.report.table import Cell, Column, Table, show
from llmbench.report.wording import listed
from llmbench.scenario.cases import Case
from llmbench.simulation.answer import CapacityAnswer
from llmbench.simulation.running_costs import RunningCosts
from llmbench.simulation.smallest import Cell as SimulatedCell
from llmbench.simulation.smallest import Point
from llmbench.simulation.validation import LARGE_ERROR, HeldOut, Predicted
from llmbench.units import parse_rate

EXTRAPOLATED = "‡"
COSTS = {
    "price_per_hour": ("cost/h", ""),
    "cost_per_million_output_tokens": ("cost/10⁶ tokens", ""),
    "power_watts": ("power", "W"),
    "energy_joules_per_output_token": ("energy/token", "J"),
}
NO_ANSWER = "no number of replicas in the range meets the objectives"


# -- sentences -------------------------------------------------------------------------------------


def sentences(answer: CapacityAnswer) -> list[str]:
    """Return the answer, what it extrapolates, and how far the step times can be trusted."""
    return [*_needed(answer), *_extrapolated(answer), *_trust(answer), *answer.doubts]


def _needed(answer: CapacityAnswer) -> Iterator[str]:
    answered = [point for point in answer.points if point.smallest]
    if answered:
        first, *_ = answered
        *_, last = answered
        yield _between(first, last) if len(answered) > 1 else _single(answer, first)
    if missed := [load_of(point.case) for point in answer.points if not point.smallest]:
        at = listed(missed) if len(missed) <= table.PAIR else f"{missed[0]} to {missed[-1]}"
        yield f"At {at}, none of {_counts(answer)} replicas meets the objectives."


def _single(answer: CapacityAnswer, point: Point) -> str:
    interval = f"{100 * answer.confidence:.0f} % interval {interval_of(point)}"
    number = point.smallest.replicas if point.smallest else 0
    meet = "1 replica meets" if number == 1 else f"{number:,} replicas meet"
    return f"At {load_of(point.case)}, {meet} the objectives ({interval})."


def _between(first: Point, last: Point) -> str:
    numbers = [point.smallest.replicas for point in (first, last) if point.smallest]
    replicas = " to ".join(dict.fromkeys(f"{number:,}" for number in numbers))
    return (
        f"From {load_of(first.case)} to {load_of(last.case)}, the objectives need {replicas} "
        f"replica{'s' * (numbers[-1] > 1)}."
    )


def _counts(answer: CapacityAnswer) -> str:
    low, high = answer.counts[0], answer.counts[-1]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _extrapolated(answer: CapacityAnswer) -> Iterator[str]:
    for point in answer.points:
        if point.smallest and point.smallest.outside:
            outside = listed(point.smallest.outside)
            yield f"The answer at {load_of(point.case)} is an extrapolation: {outside}."
        elif not point.smallest and (beyond := [cell for cell in point.cells if cell.outside]):
            yield (
                f"At {load_of(point.case)}, {beyond[0].replicas:,} replicas would meet them, but "
                f"outside of what was measured: {listed(beyond[0].outside)}."
            )


def _trust(answer: CapacityAnswer) -> Iterator[str]:
    validation, error = answer.validation, answer.validation.largest_error
    if validation.way == "none":
        yield (
            "The step times could not be checked: the sources are one run of one load. The "
            "interval has no error of the model; measure several loads."
        )
        return
    if validation.way == "repeat":
        yield (
            "All sources have the same load, so no other load was held out: repeats were. Nothing "
            "shows how well other loads are predicted; measure some."
        )
    if error is None:
        yield "No held-out percentile has as many samples as it needs; measure more requests."
        return
    errors = [abs(figure.error) for figure in validation.supported]
    yield (
        f"Each of {len(validation.held_out)} {validation.way}s was held out from the fit: all "
        f"percentiles were predicted within {_percent(error)}, half of them within "
        f"{_percent(float(np.median(errors)))}. As an error of step times, that is "
        f"{_percent(float(np.expm1(validation.spread)))}."
    )
    if abs(error) > LARGE_ERROR:
        yield (
            f"An error above {_percent(LARGE_ERROR)} makes the interval wide; measure the answer "
            "before you rely on it."
        )


def _percent(error: float) -> str:
    return f"{100 * abs(error):.1f} %"


def load_of(case: Case) -> str:
    """Return the load of a case, such as ``10/s``."""
    point = case.point
    if len(point) == 1 and (words := LOADS.get(*point)):
        return words.format(parse_rate(*point.values()))
    return ", ".join(f"{key}={value}" for key, value in point.items()) or "the scenario's load"


def interval_of(point: Point) -> str:
    """Return the interval of the number of replicas as text."""
    if point.low is None:
        return "above the range"
    if point.high is None:
        return f"{point.low:,} or more"
    return f"{point.low:,}" if point.low == point.high else f"{point.low:,} to {point.high:,}"


# -- tables ----------------------------------------------------------------------------------------


def needed(answer: CapacityAnswer) -> Table:
    """Return the smallest number of replicas at each load, its interval, use and costs."""
    columns = (
        *table.text_columns("load"),
        Column("replicas", "the smallest number that meets the objectives"),
        Column("interval", f"{100 * answer.confidence:.0f} %, with the error of the step times"),
        *(Column(label(key)) for key in answer.slo),
        Column("busy", "share of the time in which a replica has a request"),
        Column("slots", "mean share of a replica's slots that are in use"),
        *(Column(heading) for heading, _ in COSTS.values()),
    )
    rows = tuple(_row(answer, point) for point in answer.points)
    bounds = "; ".join(f"{label(key)} {show(bound, 's')}" for key, bound in answer.slo.items())
    notes = (
        f"Objectives: {bounds}.",
        f"{EXTRAPOLATED} outside of what was measured." if _is_marked(answer) else "",
        *table.reasons(rows),
    )
    return Table("Replicas by load", columns, rows, " ".join(filter(None, notes)))


def _is_marked(answer: CapacityAnswer) -> bool:
    return any(cell.outside for point in answer.points for cell in point.cells)


def _row(answer: CapacityAnswer, point: Point) -> tuple[Cell, ...]:
    load, cell = (
        Cell(load_of(point.case), note=f"{point.requests:,} requests a run"),
        point.smallest,
    )
    if cell is None or point.costs is None:
        columns = 1 + len(answer.slo) + 2 + len(COSTS)
        return (
            load,
            table.missing(NO_ANSWER),
            Cell(interval_of(point)),
            *([table.missing(NO_ANSWER)] * (columns - 1)),
        )
    mark = f" {EXTRAPOLATED}" if cell.outside else ""
    return (
        load,
        Cell(f"{cell.replicas:,}{mark}", cell.replicas, note="; ".join(cell.outside)),
        Cell(interval_of(point)),
        *(table.quantity(one.value, "s") for one in cell.percentiles),
        table.quantity(cell.busy, "share"),
        table.quantity(cell.slots, "share"),
        *_costs(point.costs),
    )


def _costs(costs: RunningCosts) -> Iterator[Cell]:
    for name, (_, unit) in COSTS.items():
        value = getattr(costs, name)
        yield (
            table.missing(value.reason) if value.value is None else table.reading(value.value, unit)
        )


def grid(answer: CapacityAnswer, most: int) -> Table:
    """Return the share of requests that meet all objectives, by load and number of replicas."""
    counts = common_counts(answer)
    shown = [counts[index] for index in thin(len(counts), most)]
    columns = (*table.text_columns("load"), *(Column(f"{count:,}") for count in shown))
    rows = tuple((Cell(load_of(point.case)), *(_shares(point, shown))) for point in answer.points)
    note = "The share of requests within all objectives, by number of replicas."
    mark = f"{EXTRAPOLATED} outside of what was measured." if _is_marked(answer) else ""
    return Table("Attainment", columns, rows, f"{note} {mark}".strip())


def common_counts(answer: CapacityAnswer) -> list[int]:
    """Return the numbers of replicas that were simulated at every load."""
    of_points = [{cell.replicas for cell in point.cells} for point in answer.points]
    return sorted(set.intersection(*of_points))


def _shares(point: Point, counts: Sequence[int]) -> Iterator[Cell]:
    cells = {cell.replicas: cell for cell in point.cells}
    for count in counts:
        yield _share(cells[count])


def _share(cell: SimulatedCell) -> Cell:
    if cell.attainment is None:
        return Cell("met" if cell.meets else "missed")
    mark = f" {EXTRAPOLATED}" if cell.outside else ""
    text = f"{show(cell.attainment, 'share')}{mark}"
    return Cell(text, cell.attainment, note="; ".join(cell.outside))


def validation(answer: CapacityAnswer) -> Table:
    """Return each held-out percentile: measured, predicted, and the relative error."""
    columns = (
        *table.text_columns("held out", "percentile"),
        Column("measured", "geometric mean over runs"),
        Column("predicted", "by a fit to the others"),
        Column("error"),
        Column("step times", "the factor by which they would have to be longer"),
    )
    rows = tuple(
        _predicted(part, figure) for part in answer.validation.held_out for figure in part.figures
    )
    is_short = any(not f.is_supported for part in answer.validation.held_out for f in part.figures)
    note = f"{table.UNSUPPORTED} too few samples; not counted." if is_short else ""
    return Table("Validation of the step times", columns, rows, note)


def _predicted(part: HeldOut, figure: Predicted) -> tuple[Cell, ...]:
    mark = "" if figure.is_supported else f" {table.UNSUPPORTED}"
    return (
        Cell(part.label, note=f"{part.runs} runs"),
        Cell(f"{METRICS[figure.metric].label}{mark}", note=f"{figure.n:,} requests"),
        table.quantity(figure.measured, "s"),
        table.quantity(figure.predicted, "s"),
        Cell(f"{100 * figure.error:+.1f} %", figure.error),
        Cell(f"× {figure.factor:.3f}", figure.factor),
    )


def fit(answer: CapacityAnswer) -> Table:
    """Return the fitted step times: the terms that are not 0, residuals and ranges."""
    report = answer.fit
    coefficients = [
        (Cell(f"{kind}, {term}"), table.quantity(value, report.units[term]))
        for kind, terms in report.coefficients.items()
        for term, value in terms.items()
        if value
    ]
    residuals = [
        (
            Cell(f"{kind}, residual", note=f"{report.steps[kind]:,} steps"),
            Cell(f"{100 * of_kind.p50:.1f} %", of_kind.p50, f"p95 {100 * of_kind.p95:.1f} %"),
        )
        for kind, of_kind in report.residuals.items()
    ]
    ranges = [
        (Cell(f"{name}, measured"), Cell(f"{limits.least:,g} to {limits.most:,g}"))
        for name, limits in report.ranges.items()
    ]
    steps = " and ".join(f"{number:,} {kind} steps" for kind, number in report.steps.items())
    note = (
        f"Fitted to {steps}. Residuals are relative: the median of their absolute values. Tokens "
        "and prompts are those of a prefill step, context is what they find cached; rows and "
        "depth are the sequences and cached tokens of a decode step."
    )
    columns = (*table.text_columns("quantity"), Column("value"))
    return Table("Step times", columns, (*coefficients, *residuals, *ranges), note)


def sources(answer: CapacityAnswer) -> Table:
    """Return the number of measured runs by load."""
    rows = tuple((Cell(load), table.count(runs)) for load, runs in answer.sources.items())
    return Table("Measured runs", (*table.text_columns("load"), Column("runs")), rows)


# -- data ------------------------------------------------------------------------------------------


def as_dict(answer: CapacityAnswer) -> dict[str, Any]:
    """Return the answer as plain data, for JSON."""
    return {
        "name": answer.name,
        "objectives": answer.slo,
        "replicas": list(answer.counts),
        "balance": answer.balance,
        "conclusion": sentences(answer),
        "interval": {"confidence": answer.confidence, "draws": answer.draws},
        "loads": [_point(point) for point in answer.points],
        "validation": _validation(answer),
        "step_times": msgspec.to_builtins(answer.fit),
        "sources": answer.sources,
        "doubts": list(answer.doubts),
        "extrapolate": answer.extrapolate,
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "load": load_of(point.case),
        "point": point.case.point,
        "requests_per_run": point.requests,
        "replicas": point.smallest and point.smallest.replicas,
        "low": point.low,
        "high": point.high,
        "extrapolated": list(point.smallest.outside) if point.smallest else [],
        "costs": point.costs and asdict(point.costs),
        "cells": [_cell(cell) for cell in point.cells],
    }


def _cell(cell: SimulatedCell) -> dict[str, Any]:
    return {
        "replicas": cell.replicas,
        "meets_objectives": cell.meets,
        "attainment": cell.attainment,
        "busy_share": cell.busy,
        "slots_share": cell.slots,
        "outside": list(cell.outside),
        "percentiles": {one.key: _finite(one) for one in cell.percentiles},
    }


def _finite(attained: AttainedPercentile) -> dict[str, float | None]:
    parts = {"bound": attained.bound, "value": attained.value}
    parts |= {"low": attained.low, "high": attained.high}
    return {name: value if abs(value) < float("inf") else None for name, value in parts.items()}


def _validation(answer: CapacityAnswer) -> dict[str, Any]:
    validation = answer.validation
    return {
        "held_out_by": validation.way,
        "largest_error": validation.largest_error,
        "step_time_spread": validation.spread,
        "held_out": [
            {
                "load": part.label,
                "runs": part.runs,
                "percentiles": [
                    {**asdict(f), "error": f.error, "is_supported": f.is_supported}
                    for f in part.figures
                ],
            }
            for part in validation.held_out
        ],
    }
