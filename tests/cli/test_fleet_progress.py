"""The progress of a fleet names the node of every run."""

from __future__ import annotations

from io import StringIO

from fleet_nodes import case
from rich.console import Console

from llmbench.cli.fleet_progress import WAITING_SECONDS, FleetLines
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


def test_a_long_stage_takes_no_room_from_the_names_of_nodes() -> None:
    console = Console(file=StringIO(), width=80, record=True)
    fleet = FleetScreen(console, lambda: 0.0)
    fleet.on_node("cat").stage("warming up: first calls may compile, which is slow, " * 3)
    console.print(fleet.view())
    rows = console.export_text().splitlines()
    assert rows[0].startswith("all runs  ")
    assert rows[1].startswith("cat  ")
    assert rows[1].rstrip().endswith("\N{HORIZONTAL ELLIPSIS}")


def test_lines_about_runs_that_wait_are_printed_at_long_intervals() -> None:
    out, now = StringIO(), 0.0
    fleet = FleetLines(out, lambda: now)
    for moment in (0.0, 1.0, WAITING_SECONDS - 1, WAITING_SECONDS, WAITING_SECONDS + 1):
        now = moment
        fleet.waiting([f"it has waited for {moment:g} s"])
    now = 9 * WAITING_SECONDS
    fleet.waiting([])
    assert out.getvalue().splitlines() == [
        "fleet: it has waited for 0 s",
        f"fleet: it has waited for {WAITING_SECONDS:g} s",
    ]


def test_the_live_display_shows_what_waits_as_long_as_it_does() -> None:
    console = Console(file=StringIO(), width=120, record=True)
    fleet = FleetScreen(console, lambda: 0.0)
    fleet.waiting(["fake, repeat 1 has waited"])
    console.print(fleet.view())
    fleet.waiting([])
    console.print(fleet.view())
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert [row for row in rows if "wait" in row] == ["waiting fake, repeat 1 has waited"]
