"""The section, the terminal's table and the export of several kinds of node."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_sets import COST, ENERGY, THROUGHPUT, Nodes, of, stored

from llmbench import report
from llmbench.cli import main
from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections import hardware
from llmbench.report.table import Table
from llmbench.runs import store
from llmbench.runs.run_set import RunSet

SIX = (100.0, 101.0, 102.0, 99.5, 100.5, 101.5)
HALF = tuple(value / 2 for value in SIX)
L4 = Nodes("L4", {THROUGHPUT: HALF, COST: SIX, ENERGY: SIX}, ["GPU-1", "GPU-2"])
TTFTS = {"L4": 0.2, "H100": 0.1}
H100 = Nodes("H100", {THROUGHPUT: SIX, COST: HALF, ENERGY: SIX}, ["GPU-3"])


def fleet(*points: dict[str, Any]) -> RunSet:
    return of(L4, H100, points=points or ({},))


def texts(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def section(run_set: RunSet) -> hardware.Section:
    made = hardware.section(Results(run_set))
    assert made is not None
    return made


def test_each_kind_has_its_devices_and_what_they_are() -> None:
    kinds = section(fleet()).kinds
    assert [column.label for column in kinds.columns] == [
        "kind", "GPUs", "nodes", "processes", "spread", "CPU", "GPU",
    ]  # fmt: skip
    assert texts(kinds) == [
        ["L4", "2", "2", "6", "—", "CPU of L4", "L4"],
        ["H100", "1", "1", "6", "—", "CPU of H100", "H100"],
    ]


def test_values_of_the_kinds_are_beside_the_ratio_and_what_it_means() -> None:
    compared = section(fleet()).compared
    assert [column.label for column in compared.columns] == [
        "case", "metric", "L4", "H100", "H100 ÷ L4",
    ]  # fmt: skip
    throughput, energy, cost = compared.rows
    assert [cell.text for cell in throughput] == [
        "eager", "output tokens/s per GPU", "50.4", "101", "× 2.00",
    ]  # fmt: skip
    assert throughput[4].detail.endswith("; better")
    assert energy[4].detail.endswith(
        "; not called: energy meters of two devices may disagree by 10 %"
    )
    assert (cost[4].text, cost[1].detail) == ("× 0.500", "lower is better")


def test_the_chart_shows_how_many_times_better_the_other_kinds_are() -> None:
    (chart,) = section(fleet()).charts
    (points,) = chart.figure.data
    assert points.name == "eager, node=H100"
    assert list(points.y) == [
        "output tokens/s per GPU", "energy per output token", "cost per 1M output tokens",
    ]  # fmt: skip
    assert list(points.x) == pytest.approx([2.0, 1.0, 2.0])


def test_each_point_of_a_sweep_has_a_chart() -> None:
    made = section(fleet({"engine.slots": 2}, {"engine.slots": 4}))
    assert [chart.title for chart in made.charts] == [
        "eager, engine.slots=2",
        "eager, engine.slots=4",
    ]
    assert len(made.compared.rows) == 6


def test_a_case_that_was_not_measured_on_a_kind_is_missing_there() -> None:
    whole = fleet({"engine.slots": 2}, {"engine.slots": 4})
    a100 = of(replace(H100, kind="A100"), points=[{"engine.slots": 2}])
    table = section(
        replace(whole, plan=whole.plan + a100.plan, runs=whole.runs + a100.runs)
    ).compared
    assert [cell.note for cell in table.rows[-1][-2:]] == ["not measured on this kind"] * 2
    assert not table.rows[0][-1].is_missing


def test_one_kind_has_no_section_and_no_table() -> None:
    results = Results(of(L4))
    assert hardware.section(results) is None
    assert hardware.brief(results).rows == ()


def test_the_terminal_has_a_row_per_kind_and_brackets_what_is_not_called() -> None:
    table = hardware.brief(Results(fleet()))
    assert [column.label for column in table.columns] == [
        "case", "node", "output tokens/s per GPU", "energy per output token",
        "cost per 1M output tokens",
    ]  # fmt: skip
    assert texts(table) == [
        ["eager", "L4", "50.4", "101", "101"],
        ["eager", "H100", "101", "101", "50.4"],
    ]
    assert [cell.detail for cell in table.rows[0]] == [""] * 5
    assert [cell.detail for cell in table.rows[1][2:]] == ["× 2.00", "(× 1.00)", "× 0.500"]


def test_the_terminal_leaves_out_what_no_kind_measured() -> None:
    nodes = (Nodes(kind, {THROUGHPUT: SIX}) for kind in ("L4", "H100"))
    assert [column.label for column in hardware.brief(Results(of(*nodes))).columns[2:]] == [
        "output tokens/s per machine"
    ]


def test_the_page_has_the_comparison(tmp_path: Path) -> None:
    page = pages.report(store.read(stored(tmp_path / "set", TTFTS)))
    assert '<h2 id="hardware">Hardware</h2>' in page
    assert "Measured: L4 1 GPU on 1 node and H100 1 GPU on 1 node." in page


def test_names_of_kinds_are_escaped(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    page = pages.report(store.read(stored(tmp_path / "set", {"L4": 0.2, hostile: 0.1})))
    assert hostile not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_the_terminal_has_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report.show(store.read(stored(tmp_path / "set", TTFTS)))
    shown = capsys.readouterr().out
    assert "Kinds of node compared" in shown
    assert "× 0.500" in shown


def test_the_comparison_is_exported_with_a_row_per_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "set", TTFTS)
    assert main(["export", str(folder), "--what", "hardware", "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    (ttft,) = [row for row in rows if (row["metric"], row["kind"]) == ("ttft_p50", "H100")]
    assert ttft["ratio"] == pytest.approx(0.5)
    assert (ttft["case"], ttft["processes"]) == ("eager", 1)


def test_one_kind_of_node_has_no_comparison_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "set", {"L4": 0.2})
    assert main(["export", str(folder), "--what", "hardware", "--format", "csv"]) == 2
    assert "was measured on one kind of node" in capsys.readouterr().err
