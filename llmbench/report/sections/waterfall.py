"""The waterfall of one request: a figure without data, which the page fills when it opens one."""

from __future__ import annotations

import plotly.graph_objects as go

from llmbench.report import palette
from llmbench.report.charts import Chart, layout
from llmbench.report.sections.timeline import SEGMENTS

SPANS = {
    "unsent": ("until it is sent", palette.MUTED),
    **{key: (label, color) for key, (label, color, _) in SEGMENTS.items()},
}
SAYS = (
    "From the due time at the top: each bar is a span of the request's time, from the stages before"
    " its first chunk to the gaps between chunks. A long bar is where it waited."
)


def waterfall() -> Chart:
    """Give a bar trace for each kind of span (``meta.span``), with nothing in it yet."""
    figure = go.Figure(
        [
            go.Bar(
                orientation="h",
                name=label,
                meta={"span": key},
                marker={"color": color},
                hovertemplate="%{customdata}<extra></extra>",
            )
            for key, (label, color) in SPANS.items()
        ],
        layout(
            barmode="overlay",
            bargap=0.1,
            height=360,
            showlegend=True,
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "traceorder": "normal"},
            xaxis={"title": {"text": "seconds since the load began"}, "showgrid": True},
            yaxis={"showgrid": False, "tickmode": "array"},
        ),
    )
    return Chart("waterfall", "Waterfall", figure, SAYS)
