"""The roofline chart of all cases, and the bytes and FLOPs of their steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import plotly.graph_objects as go

from llmbench.analysis.metrics import METRICS
from llmbench.analysis.roofline.peaks import DevicePeaks, datasheet, peaks_of
from llmbench.report import palette
from llmbench.report.charts import Chart, layout, log_axis, reasons_for_unknown, safe
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import INTERVALS, Table, by_case, metric_column, show
from llmbench.units import format_scaled

PHASES = {"decode": ("circle", "mbu"), "prefill": ("diamond", "mfu")}
DASHES = {"measured": "solid", "datasheet": "dash"}
AXIS_MARGIN = 4.0  # margin of the log axis, as a factor

Point = tuple[float, float]


def table(results: Results) -> Table:
    """Return each case's step time, bytes, FLOPs, MBU and MFU; the note has the measured peaks."""
    columns = [
        metric_column(name)
        for phase, (_, share) in PHASES.items()
        for name in (*_of_step(phase), share, f"{share}_datasheet")
    ]
    notes = (INTERVALS, *(_described(roof) for roof in _roofs(results)))
    return by_case("Roofline", results.measured, columns, notes)


def _of_step(phase: str) -> list[str]:
    return [f"{phase}_step_{quantity}" for quantity in ("seconds", "bytes", "flops")]


def _roofs(results: Results) -> list[DevicePeaks]:
    """Return the highest measured peaks for each hardware, precision and number of threads."""
    roofs = (peaks_of(run.backend_report) for case in results.measured for run in case.runs)
    highest: dict[tuple[str, str, int | None], DevicePeaks] = {}
    for roof in filter(None, roofs):
        known = highest.setdefault((roof.hardware, roof.precision, roof.threads), roof)
        highest[roof.hardware, roof.precision, roof.threads] = _higher(known, roof)
    return list(highest.values())


def _higher(one: DevicePeaks, other: DevicePeaks) -> DevicePeaks:
    """Return the higher of each peak: other load on the machine can only lower a measurement."""
    return replace(
        one,
        bytes_per_second=max(one.bytes_per_second, other.bytes_per_second),
        flops_per_second=max(one.flops_per_second, other.flops_per_second),
    )


def _described(roof: DevicePeaks) -> str:
    threads = f" with {roof.threads} threads" if roof.threads else ""
    return (
        f"Measured on {roof.hardware}{threads} at {roof.measured_at}: copy bandwidth "
        f"{format_scaled(roof.bytes_per_second, 'B/s')}, matrix products in {roof.precision} "
        f"{format_scaled(roof.flops_per_second, 'FLOP/s')}."
    )


def chart(results: Results) -> Chart:
    """Draw the decode steps and prefills of each case under the rooflines of its machine."""
    points = [
        (case, phase, point)
        for case in results.measured
        for phase in PHASES
        if (point := _point(case, phase))
    ]
    roofs = _roofs(results)
    span = _span([intensity for _, _, (intensity, _) in points], roofs)
    rates = [*(rate for _, _, (_, rate) in points), *(roof.flops_per_second for roof in roofs)]
    figure = go.Figure(
        [
            *(line for roof in roofs for line in _lines(roof, span)),
            *(_mark(case, phase, point) for case, phase, point in points),
        ],
        layout(
            height=380,
            xaxis=log_axis("arithmetic intensity (FLOP/B)", span),
            yaxis=log_axis("performance (FLOP/s)", rates, tickformat="~s"),
        ),
    )
    caption = (
        "Circles are decode steps, diamonds prefills. Steps under the slope are memory-bound, "
        "steps under the flat part compute-bound. Solid roofs were measured on the machines, "
        "dashed ones are from the datasheet."
    )
    empty = "" if points else reasons_for_unknown(results, "decode_step_flops")
    return Chart("roofline", "Roofline", figure, caption, empty=empty)


def _point(case: CaseResults, phase: str) -> Point | None:
    """Return FLOPs per byte and FLOPs per second of a phase, or None if unknown."""
    seconds, moved, flops = (case.estimates[name].value for name in _of_step(phase))
    if flops is None or not moved or not seconds:
        return None
    return flops / moved, flops / seconds


def _span(intensities: Sequence[float], roofs: Sequence[DevicePeaks]) -> tuple[float, float]:
    """Return the range of arithmetic intensities: all points and ridges of roofs, with a margin."""
    ridges = [flops / rate for roof in roofs for _, rate, flops in _peaks(roof)]
    drawn = [*intensities, *ridges] or [1.0]
    return min(drawn) / AXIS_MARGIN, max(drawn) * AXIS_MARGIN


def _peaks(roof: DevicePeaks) -> Iterator[tuple[str, float, float]]:
    """Yield the measured peaks in bytes/s and FLOP/s and, if known, those of the datasheet."""
    yield "measured", roof.bytes_per_second, roof.flops_per_second
    sheet = datasheet(roof.hardware)
    if sheet and roof.precision in sheet.flops_per_second:
        yield "datasheet", sheet.bytes_per_second, sheet.flops_per_second[roof.precision]


def _lines(roof: DevicePeaks, span: tuple[float, float]) -> Iterator[go.Scatter]:
    for kind, rate, flops in _peaks(roof):
        ridge = flops / rate
        intensities = [span[0], ridge, span[1]]
        name = f"{roof.hardware}, {roof.precision}, {kind}"
        peaks = f"{format_scaled(rate, 'B/s')}, {format_scaled(flops, 'FLOP/s')}"
        yield go.Scatter(
            x=intensities,
            y=[min(rate * intensity, flops) for intensity in intensities],
            mode="lines",
            name=safe(name),
            line={"color": palette.MUTED, "width": 2, "dash": DASHES[kind]},
            hovertemplate=f"{safe(name)}: {peaks}<extra></extra>",
        )


def _mark(case: CaseResults, phase: str, point: Point) -> go.Scatter:
    symbol, share = PHASES[phase]
    used = case.estimates[share].value
    utilization = "unknown" if used is None else show(used, METRICS[share].unit)
    return go.Scatter(
        x=[point[0]],
        y=[point[1]],
        name=safe(f"{case.name}, {phase}"),
        meta={"case": case.index},
        mode="markers",
        marker={"size": 11, "symbol": symbol, "color": palette.case_color(case.index)},
        cliponaxis=False,
        hovertemplate=(
            f"<b>{safe(case.name)}</b>, {phase}<br>%{{x:.3~g}} FLOP/B, "
            f"{format_scaled(point[1], 'FLOP/s')}<br>{METRICS[share].label}: {utilization}"
            "<extra></extra>"
        ),
    )
