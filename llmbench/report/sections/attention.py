"""Maps of attention of a case beside those of the reference."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from llmbench.report.charts import Chart, layout, safe
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, Table, missing, quantity, show

ROW_HEIGHT = 300
WHO = ("reference", "candidate")
LEAST_SCALE = 0.01  # nats; less is drawn pale however it compares
COLOURS = [[0, "rgba(61,120,180,0.04)"], [1, "rgba(61,120,180,1)"]]
SAYS = (
    "Above, how far each head's attention is from the reference's (Jensen-Shannon divergence in "
    "nats, 0 to 0.69; a gap is a layer that was dropped). Below, single heads, the reference on "
    "the left: each row is a token, and darker is what it looks at."
)


def attention_charts(results: Results) -> list[Chart]:
    """Draw a chart for each case that was asked to explain itself."""
    return [
        _chart(case, run.quality.attention)
        for case in results.measured
        for run in case.runs
        if run.quality.attention
    ]


def _chart(case: CaseResults, told: dict[str, Any]) -> Chart:
    key, title = f"attention-{case.index}", case.name
    if reason := told.get("reason"):
        return Chart(key, title, go.Figure(), "", empty=f"No maps of attention: {reason}.")
    maps = told["maps"]
    figure = make_subplots(
        rows=1 + len(maps),
        cols=2,
        specs=[[{"colspan": 2}, None], *([{}, {}] for _ in maps)],
        subplot_titles=["divergence by layer and head", *_titles(maps)],
        vertical_spacing=0.35 / (1 + len(maps)),
    )
    figure.add_trace(_divergence(told["divergence"]), row=1, col=1)
    figure.update_yaxes(autorange="reversed", row=1, col=1)
    names = [f"{place} {safe(token)}" for place, token in enumerate(told["tokens"])]
    for row, shown in enumerate(maps, start=2):
        for column, who in enumerate(WHO, start=1):
            if shown[who] is not None:
                figure.add_trace(_map(shown[who], names), row=row, col=column)
                figure.update_yaxes(autorange="reversed", row=row, col=column)
    figure.update_layout(layout(height=ROW_HEIGHT * (1 + len(maps)), margin={"t": 40, "b": 8}))
    figure.update_xaxes(type="category", tickangle=-60, showgrid=False)
    figure.update_yaxes(type="category", showgrid=False)
    return Chart(key, title, figure, SAYS, data=_data(told))


def _data(told: dict[str, Any]) -> tuple[Table, ...]:
    """Give the divergence of every head, and what each token looks at most in each map."""
    return _divergences(told["divergence"]), *(
        _most_looked_at(shown, told["tokens"]) for shown in told["maps"]
    )


def _divergences(rows: list[list[float] | None]) -> Table:
    heads = max(len(row) for row in rows if row is not None)
    columns = (Column("layer"), *(Column(f"head {head}") for head in range(heads)))
    dropped = [missing("the layer was dropped")] * heads
    cells = tuple(
        (Cell(str(layer)), *([quantity(d, "nats") for d in row] if row else dropped))
        for layer, row in enumerate(rows)
    )
    return Table("Divergence by layer and head (nats)", columns, cells)


def _most_looked_at(shown: dict[str, Any], tokens: list[str]) -> Table:
    columns = (_words("token"), *(_words(f"{who} looks most at") for who in WHO))
    rows = tuple(
        (Cell(f"{place} {token}"), *(_strongest(shown[who], place, tokens) for who in WHO))
        for place, token in enumerate(tokens)
    )
    return Table(f"Layer {shown['layer']}, head {shown['head']}", columns, rows)


def _strongest(rows: list[list[float]] | None, place: int, tokens: list[str]) -> Cell:
    if rows is None:
        return missing("the layer was dropped")
    share = max(rows[place])
    at = rows[place].index(share)
    return Cell(f"{at} {tokens[at]}", detail=show(share, "share"))


def _words(label: str) -> Column:
    return Column(label, numeric=False)


def _titles(maps: list[dict[str, Any]]) -> list[str]:
    places = [f"layer {shown['layer']}, head {shown['head']}" for shown in maps]
    return [f"{place}: {who}" for place in places for who in ("reference", "this case")]


def _divergence(rows: list[list[float] | None]) -> go.Heatmap:
    known = [row for row in rows if row is not None]
    heads = len(known[0])
    return go.Heatmap(
        z=[row or [float("nan")] * heads for row in rows],
        x=[f"head {head}" for head in range(heads)],
        y=[f"layer {layer}" for layer in range(len(rows))],
        colorscale=COLOURS,
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
        colorscale=COLOURS,
        zmin=0,
        zmax=1,
        showscale=False,
        hovertemplate="%{y} looks at %{x}: %{z:.1%}<extra></extra>",
    )
