"""The progress of a fleet names the node of every run."""

from __future__ import annotations

from io import StringIO

from fleet_nodes import case
from rich.console import Console

from llmbench.cli.fleet_progress import FleetLines
from llmbench.cli.fleet_screen import FleetScreen
from llmbench.loads.progress import Progress
from llmbench.runs.run import PlannedRun

PLANNED = PlannedRun(case(), 1)


def test_lines_begin_with_the_node() -> None:
    out = StringIO()
    with FleetLines(out, lambda: 0.0) as fleet:
        fleet.on_node("cat").began(PLANNED, 1, 2, "cat")
        fleet.remark("the node \x1bcat was lost")
    assert out.getvalue() == (
        "run 1 of 2: cat: fake, repeat 1\nfleet: the node \N{REPLACEMENT CHARACTER}cat was lost\n"
    )


def test_the_live_display_has_a_row_per_node() -> None:
    console = Console(file=StringIO(), width=120, record=True)
    fleet = FleetScreen(console, lambda: 0.0)
    cat = fleet.on_node("cat")
    fleet.on_node("dog")
    cat.began(PLANNED, 1, 2, "cat")
    cat.stage("measuring")
    cat.progress(Progress(5, 20))
    console.print(fleet.view())
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert rows[0].endswith("0 of 2, 0:00:00 elapsed")
    assert rows[1].startswith("cat ")
    assert rows[1].endswith("5 of 20 requests, measuring, fake, repeat 1")
    assert rows[2].startswith("dog ")
    assert rows[2].endswith("idle")
