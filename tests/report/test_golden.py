"""Figures draw exactly what they drew before: their data, held against golden_figures.json."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.report import charts
from llmbench.report.charts import Chart
from llmbench.report.results import Results
from llmbench.report.sections.load import load_curves
from llmbench.report.sections.timeline import timeline

GOLDEN = Path(__file__).with_name("golden_figures.json")
DIGITS = 9
KEYS = [
    "ecdf-ttft", "ecdf-tpot", "ecdf-e2e", "bars-output_tokens_per_second", "cold-start",
    "load-ttft", "load-e2e", "timeline-1",
]  # fmt: skip


@pytest.fixture(scope="module")
def figures(make: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The data of each figure of two loads, three processes each, four requests a process."""
    plan = [
        make.planned(f"fake, load.rate={rate}", repeat, {"load.rate": rate})
        for rate in (4, 16)
        for repeat in (1, 2, 3)
    ]
    runs = [
        make.run_of(p, make.serve(p.repeat, rate=p.case.point["load.rate"], requests=4))
        for p in plan
    ]
    stored = make.store_run_set(tmp_path_factory.mktemp("golden") / "set", plan, runs)
    return {chart.key: plain(chart.figure.to_dict()["data"]) for chart in drawn(Results(stored))}


def drawn(results: Results) -> list[Chart]:
    return [
        *(charts.latency_ecdf(results, latency) for latency in ("ttft", "tpot", "e2e")),
        charts.throughput(results, "output_tokens_per_second"),
        charts.cold_start(results),
        *load_curves(results, ["ttft", "e2e"]).values(),
        timeline(results.measured[1]),
    ]


def plain(node: Any) -> Any:
    """Return arrays as lists of rounded numbers."""
    if isinstance(node, dict) and "bdata" in node:
        return plain(np.frombuffer(base64.b64decode(node["bdata"]), node["dtype"]))
    if isinstance(node, dict):
        return {key: plain(inner) for key, inner in node.items()}
    if isinstance(node, (list, tuple, np.ndarray)):
        return [plain(inner) for inner in node]
    if isinstance(node, (float, np.floating)):
        return float(f"{node:.{DIGITS}g}")
    return node.item() if isinstance(node, np.generic) else node


def test_the_file_has_these_figures_and_no_others(figures: dict[str, Any]) -> None:
    assert list(figures) == list(json.loads(GOLDEN.read_text("utf-8"))) == KEYS


@pytest.mark.parametrize("key", KEYS)
def test_a_figure_draws_what_it_drew(figures: dict[str, Any], tmp_path: Path, key: str) -> None:
    lines = [f"{json.dumps(name)}: {json.dumps(data)}" for name, data in figures.items()]
    found = tmp_path / GOLDEN.name
    found.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    golden = json.loads(GOLDEN.read_text("utf-8"))
    assert figures[key] == golden.get(key), f"if it is meant to: cp {found} {GOLDEN}"
