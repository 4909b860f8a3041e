"""Attention maps of each case next to those of the reference."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, Table, missing, quantity, show, text_columns

ROW_HEIGHT = 300
SIDES = ("reference", "candidate")
LEAST_SCALE = 0.01  # nats; smaller values are drawn pale
COLORS = [[0, "rgba(61,120,180,0.04)"], [1, "rgba(61,120,180,1)"]]
CAPTION = (
    "Top: Jensen-Shannon divergence of each head's attention from the reference's (nats, 0 to "
    "0.69; a gap is a dropped layer). Below: single heads, the reference on the left; each row is "
    "a token, darker cells get more attention."
)


def attention_charts(results: Results) -> list[Chart]:
    """Draw the attention maps of each case that recorded them."""
    return [
        _chart(case, run.quality.attention)
        for case in results.measured
        for run in case.runs
        if run.quality.attention
    ]


def _chart(case: CaseResults, stored: dict[str, Any]) -> Chart:
    key, title = f"attention-{case.index}", case.name
    if reason := stored.get("reason"):
        return Chart(key, title, go.Figure(), "", empty=f"No attention maps: {reason}.")
    maps = stored["maps"]
    figure = make_subplots(
        rows=1 + len(maps),
        cols=2,
        specs=[[{"colspan": 2}, None], *([{}, {}] for _ in maps)],
        subplot_titles=["divergence by layer and head", *_titles(maps)],
        vertical_spacing=0.35 / (1 + len(maps)),
    )
    figure.add_trace(_divergence(stored["divergence"]), row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=1, col=1)
    names = [f"{index} {safe(token)}" for index, token in enumerate(stored["tokens"])]
    for row, shown in enumerate(maps, start=2):
        for column, side in enumerate(SIDES, start=1):
            if shown[side] is not None:
                figure.add_trace(_map(shown[side], names), row=row, col=column)
                figure.update_yaxes(autorange="reversed", row=row, col=column)
    figure.update_layout(layout(height=ROW_HEIGHT * (1 + len(maps)), margin={"t": 40, "b": 8}))
    figure.update_xaxes(type="category", tickangle=-60, showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return Chart(key, title, figure, CAPTION, data=_data(stored))


def _data(stored: dict[str, Any]) -> tuple[Table, ...]:
    """Return the divergence of every head, and the token that each token attends to most."""
    return _divergences(stored["divergence"]), *(
        _most_attended(shown, stored["tokens"]) for shown in stored["maps"]
    )


def _heads(rows: list[list[float] | None]) -> int:
    return next(len(row) for row in rows if row is not None)


def _divergences(rows: list[list[float] | None]) -> Table:
    heads = _heads(rows)
    columns = (Column("layer"), *(Column(f"head {head}") for head in range(heads)))
    dropped = [missing("the layer was dropped")] * heads
    cells = tuple(
        (Cell(str(layer)), *([quantity(d, "nats") for d in row] if row else dropped))
        for layer, row in enumerate(rows)
    )
    return Table("Divergence by layer and head (nats)", columns, cells)


def _most_attended(shown: dict[str, Any], tokens: list[str]) -> Table:
    columns = text_columns("token", *(f"{side} attends most to" for side in SIDES))
    rows = tuple(
        (Cell(f"{index} {token}"), *(_strongest(shown[side], index, tokens) for side in SIDES))
        for index, token in enumerate(tokens)
    )
    return Table(f"Layer {shown['layer']}, head {shown['head']}", columns, rows)


def _strongest(rows: list[list[float]] | None, index: int, tokens: list[str]) -> Cell:
    if rows is None:
        return missing("the layer was dropped")
    share = max(rows[index])
    at = rows[index].index(share)
    return Cell(f"{at} {tokens[at]}", detail=show(share, "share"))


def _titles(maps: list[dict[str, Any]]) -> list[str]:
    titles = [f"layer {shown['layer']}, head {shown['head']}" for shown in maps]
    return [f"{index}: {side}" for index in titles for side in ("reference", "this case")]


def _divergence(rows: list[list[float] | None]) -> go.Heatmap:
    heads, known = _heads(rows), [row for row in rows if row is not None]
    return go.Heatmap(
        z=[row or [float("nan")] * heads for row in rows],
        x=[f"head {head}" for head in range(heads)],
        y=[f"layer {layer}" for layer in range(len(rows))],
        colorscale=COLORS,
        zmin=0,
        zmax=max(LEAST_SCALE, *(max(row) for row in known)),
        texttemplate="%{z:.3f}",
        showscale=False,
        hovertemplate="%{y}, %{x}: %{z:.4f} nats<extra></extra>",
    )


def _map(rows: list[list[float]], names: list[str]) -> go.Heatmap:
    return go.Heatmap(
        z=rows,
        x=names,
        y=names,
        colorscale=COLORS,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y} attends to %{x}: %{z:.1%}<extra></extra>",
    )
