"""What is said while runs go on: on a screen, in lines, or not at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
from rich.console import Console
from small_sets import planned, run_of

from llmbench.campaign.observer import Silence
from llmbench.cli.progress import Lines, shown
from llmbench.cli.screen import Screen
from llmbench.loads.progress import Progress
from llmbench.runs.run import Failure

PLAN = planned("eager", 2)
FAILED = run_of(PLAN, failure=Failure("killed", "killed by\x1b[31m SIGKILL\nand more"))
LATENCIES = [0.010] * 8


class Time:
    """A clock that is set."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Time:
    return Time()


# -- lines -----------------------------------------------------------------------------------------


def lines(clock: Callable[[], float]) -> tuple[Lines, io.StringIO]:
    out = io.StringIO()
    return Lines(out, clock), out


def test_a_run_has_a_line_when_it_begins_and_one_when_it_ends(clock: Time) -> None:
    told, out = lines(clock)
    with told:
        told.began(PLAN, 3, 6)
        told.stage("measuring")
        told.progress(Progress(1, 10))
        clock.seconds = 41.0
        told.ended(run_of(PLAN))
    assert out.getvalue() == (
        "run 3 of 6: eager, repeat 2\n"
        "eager, repeat 2: done in 41.0 s, output tokens/s 2.00, TTFT p50 250 ms, ITL p50 261 ms\n"
    )


def test_a_failed_run_says_why_in_its_line(clock: Time) -> None:
    told, out = lines(clock)
    told.began(PLAN, 1, None, "baseline")
    told.ended(FAILED)
    assert out.getvalue().splitlines() == [
        "run 1: baseline: eager, repeat 2",
        "baseline: eager, repeat 2: failed after 0 s: killed by\ufffd[31m SIGKILL",
    ]


def test_a_name_cannot_steer_a_terminal(clock: Time) -> None:
    told, out = lines(clock)
    told.began(planned("\x1b[2J\rgone\n", 1), 1, 1)
    assert out.getvalue().rstrip("\n").isprintable()


# -- the screen ------------------------------------------------------------------------------------


def screen(clock: Callable[[], float], width: int = 100) -> tuple[Screen, Console]:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=30, color_system=None
    )
    return Screen(console, "CPU 87 %; GPU 0 93 %, 312 W, 41.2 GiB", clock), console


def text(shown: Screen, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(shown.view())
    return [line.rstrip() for line in captured.get().splitlines()]


def measured(shown: Screen, clock: Time) -> None:
    """Let a first run end after 30 s, and bring the second to its half."""
    shown.began(planned("eager", 1), 1, 3)
    clock.seconds = 30.0
    shown.ended(run_of(planned("eager", 1)))
    shown.began(PLAN, 2, 3)
    shown.stage("measuring")
    for done in range(1, 6):
        clock.seconds += 2.0
        shown.progress(Progress(done, 10, 1, 100 * done, 2.0 * done, LATENCIES, [0.005] * 8))


def test_the_screen_has_bars_figures_and_the_machine(clock: Time) -> None:
    shown, console = screen(clock)
    measured(shown, clock)
    assert text(shown, console) == [
        "all runs         ━━━━━━━━────────────────  1 of 3, ETA 0:00:50, 0:00:40 gone",
        "eager, repeat 2  ━━━━━━━━━━━━────────────  5 of 10 requests, 1 failed, measuring",
        "output           50.0 tokens/s (answers of the last 10 s)",
        "TTFT             p50 10.0 ms, p99 10.0 ms † (of 40 requests)",
        "ITL              p50 5.00 ms, p99 5.00 ms † (of 40 gaps)",
        "machine          CPU 87 %; GPU 0 93 %, 312 W, 41.2 GiB",
    ]


def test_before_anything_came_back_the_screen_says_what_the_run_does(clock: Time) -> None:
    shown, console = screen(clock)
    shown.began(PLAN, 1, None, "candidate")
    shown.stage("warming up")
    assert text(shown, console)[:4] == [
        "all runs                    ────────────────────────  0, 0:00:00 gone",
        "candidate: eager, repeat 2  ────────────────────────  warming up",
        "output                      —",
        "TTFT                        —",
    ]


def test_a_new_run_begins_with_new_figures(clock: Time) -> None:
    shown, console = screen(clock)
    measured(shown, clock)
    shown.began(PLAN, 3, 3)
    assert "TTFT             —" in text(shown, console)


def test_silence_of_a_run_is_told(clock: Time) -> None:
    shown, console = screen(clock)
    measured(shown, clock)
    clock.seconds += 7.0
    assert "1 failed, silent for 7 s, measuring" in text(shown, console)[1]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_is_kept_to(clock: Time, width: int) -> None:
    shown, console = screen(clock, width)
    measured(shown, clock)
    found = text(shown, console)
    assert len(found) == 6
    assert max(map(len, found)) <= width - 3
    assert found[0].startswith("all runs ")


def test_a_run_that_ended_leaves_its_line(clock: Time) -> None:
    shown, console = screen(clock)
    with console.capture() as captured, shown:
        measured(shown, clock)
    assert "eager, repeat 1: done in 30.0 s, output tokens/s 2.00" in captured.get()


def test_a_name_that_looks_like_markup_is_text(clock: Time) -> None:
    shown, console = screen(clock)
    shown.began(planned("[red]x[/red]\x1b", 1), 1, 1)
    assert text(shown, console)[1].startswith("[red]x[/red]\N{REPLACEMENT CHARACTER}, repeat 1")


# -- which of them ---------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "quiet", "kind"),
    [
        (Terminal(), False, Screen),
        (Terminal(), True, Silence),
        (io.StringIO(), False, Lines),
        (io.StringIO(), True, Silence),
    ],
)
def test_a_screen_is_for_terminals_and_lines_for_the_rest(
    stderr: io.StringIO, *, quiet: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    assert type(shown(quiet=quiet)) is kind


def test_a_terminal_that_can_do_nothing_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert type(shown(quiet=False)) is Lines


def test_a_pipe_gets_lines_though_colors_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert type(shown(quiet=False)) is Lines
