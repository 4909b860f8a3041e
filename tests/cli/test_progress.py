"""Progress during runs: a screen, lines, or nothing."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable

import pytest
from rich.console import Console
from small_sets import planned, run_of

from llmbench.campaign.observer import SilentObserver
from llmbench.cli import progress
from llmbench.cli.progress import CaseLines, Lines, TrainingLines, choose_observer
from llmbench.cli.screen import Screen
from llmbench.loads.progress import Progress
from llmbench.runs.caveats import Caveat
from llmbench.runs.profile import CaseProfile
from llmbench.runs.run import Failure

PLAN = planned("eager", 2)
FAILED = run_of(PLAN, failure=Failure("killed", "killed by\x1b[31m SIGKILL\nand more"))
BUSY = run_of(PLAN, caveats=(Caveat("other-load", percent=20.0),))
LATENCIES = [0.010] * 8


class Time:
    """A clock that tests set."""

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
    observer, out = lines(clock)
    with observer:
        observer.began(PLAN, 3, 6)
        observer.stage("measuring")
        observer.progress(Progress(1, 10))
        clock.seconds = 41.0
        observer.ended(run_of(PLAN))
    assert out.getvalue() == (
        "run 3 of 6: eager, repeat 2\n"
        "eager, repeat 2: done in 41.0 s, output tokens/s 2.00, TTFT p50 250 ms, ITL p50 261 ms\n"
    )


def test_a_silent_stage_has_a_line_every_nine_seconds(clock: Time) -> None:
    observer, out = lines(clock)
    observer.began(PLAN, 1, 1)
    observer.stage("warming up\x1b[31m")
    clock.seconds = 8.0
    assert observer.heartbeat() == 1.0
    clock.seconds = 9.0
    assert observer.heartbeat() == 9.0
    observer.stage("measuring")
    observer.progress(Progress(1200, 2000))
    clock.seconds = 18.0
    observer.heartbeat()
    assert out.getvalue().splitlines()[1:] == [
        "eager, repeat 2: warming up\N{REPLACEMENT CHARACTER}[31m, 9.00 s elapsed",
        "eager, repeat 2: measuring, 1,200 of 2,000 requests, 18.0 s elapsed",
    ]


def test_a_new_run_begins_without_the_progress_of_the_last(clock: Time) -> None:
    observer, out = lines(clock)
    observer.began(PLAN, 1, 2)
    observer.progress(Progress(5, 10))
    observer.began(PLAN, 2, 2)
    clock.seconds = 9.0
    observer.heartbeat()
    assert out.getvalue().splitlines()[2] == "eager, repeat 2: starting, 9.00 s elapsed"


def test_nothing_is_printed_before_the_first_run(clock: Time) -> None:
    observer, out = lines(clock)
    clock.seconds = 100.0
    assert observer.heartbeat() > 0
    assert out.getvalue() == ""


def test_the_lines_of_silent_stages_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.01)
    printed = threading.Event()

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if "elapsed" in text:
                printed.set()
            return super().write(text)

    with Lines(Out()) as observer:
        observer.began(PLAN, 1, 1)
        assert printed.wait(30)


def test_a_training_has_a_line_per_stage_and_steps_in_between(clock: Time) -> None:
    out = io.StringIO()
    observer = TrainingLines(out, "students/a", 1500, clock)
    observer.stage("training")
    observer.step(1200, 2.5)
    clock.seconds = 9.0
    observer.heartbeat()
    observer.stage("measuring the student")
    assert out.getvalue().splitlines() == [
        "students/a: training",
        "students/a: training, step 1,200 of 1,500, loss 2.500, 9.00 s elapsed",
        "students/a: measuring the student",
    ]


def test_a_profile_has_a_line_when_a_case_begins_and_one_when_it_ends(clock: Time) -> None:
    out = io.StringIO()
    observer = CaseLines(out, clock)
    observer.began("eager", 1, 2)
    observer.stage("timing decode")
    clock.seconds = 9.0
    observer.heartbeat()
    clock.seconds = 12.0
    observer.ended(CaseProfile(PLAN.case))
    observer.began("compiled", 2, 2)
    observer.ended(CaseProfile(PLAN.case, failure=Failure("error", "it broke")))
    assert out.getvalue().splitlines() == [
        "case 1 of 2: eager",
        "eager: timing decode, 9.00 s elapsed",
        "eager: done in 12.0 s",
        "case 2 of 2: compiled",
        "compiled: failed after 0 s",
    ]


def test_a_failed_run_has_its_reason_in_its_line(clock: Time) -> None:
    observer, out = lines(clock)
    observer.began(PLAN, 1, None, "baseline")
    observer.ended(FAILED)
    assert out.getvalue().splitlines() == [
        "run 1: baseline: eager, repeat 2",
        "baseline: eager, repeat 2: failed after 0 s: killed by\ufffd[31m SIGKILL",
    ]


@pytest.mark.usefixtures("contaminations")
def test_a_run_that_is_measured_again_has_its_reason_in_a_line(clock: Time) -> None:
    observer, out = lines(clock)
    observer.began(PLAN, 1, 1)
    observer.discarded(BUSY)
    _, line = out.getvalue().splitlines()
    assert line.startswith("eager, repeat 2: measured again: Other programs used 20 % of the")


def test_a_name_cannot_control_a_terminal(clock: Time) -> None:
    observer, out = lines(clock)
    observer.began(planned("\x1b[2J\rgone\n", 1), 1, 1)
    assert out.getvalue().rstrip("\n").isprintable()


# -- the screen ------------------------------------------------------------------------------------


def screen(clock: Callable[[], float], width: int = 100) -> tuple[Screen, Console]:
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=30, color_system=None
    )
    return Screen(console, "CPU 87 %; GPU 0 93 %, 312 W, 41.2 GiB", clock), console


def text(display: Screen, console: Console) -> list[str]:
    with console.capture() as captured:
        console.print(display.view())
    return [line.rstrip() for line in captured.get().splitlines()]


def half_done(display: Screen, clock: Time) -> None:
    """Complete a first run in 30 s, and half of the second."""
    display.began(planned("eager", 1), 1, 3)
    clock.seconds = 30.0
    display.ended(run_of(planned("eager", 1)))
    display.began(PLAN, 2, 3)
    display.stage("measuring")
    for done in range(1, 6):
        clock.seconds += 2.0
        display.progress(Progress(done, 10, 1, 100 * done, 2.0 * done, LATENCIES, [0.005] * 8))


def test_the_screen_has_bars_metrics_and_the_machine(clock: Time) -> None:
    display, console = screen(clock)
    half_done(display, clock)
    assert text(display, console) == [
        "all runs         ━━━━━━━━────────────────  1 of 3, 0:00:40 elapsed, ETA 0:00:50",
        "eager, repeat 2  ━━━━━━━━━━━━────────────  5 of 10 requests, 1 failed, measuring",
        "output           50.0 tokens/s in the last 10 s",
        "TTFT             p50 10.0 ms, p99 10.0 ms † (n = 40)",
        "ITL              p50 5.00 ms, p99 5.00 ms † (n = 40)",
        "machine          CPU 87 %; GPU 0 93 %, 312 W, 41.2 GiB",
    ]


def test_a_narrow_screen_has_no_bars_and_cuts_no_line(clock: Time) -> None:
    display, console = screen(clock, width=60)
    half_done(display, clock)
    lines = text(display, console)
    assert lines[:2] == [
        "all runs         1 of 3, 0:00:40 elapsed, ETA 0:00:50",
        "eager, repeat 2  5 of 10 requests, 1 failed, measuring",
    ]
    assert [line for line in lines[:5] if "…" in line] == []


def test_before_the_first_answer_the_screen_shows_the_stage(clock: Time) -> None:
    display, console = screen(clock)
    display.began(PLAN, 1, None, "candidate")
    display.stage("warming up")
    assert text(display, console)[:4] == [
        "all runs                    ────────────────────────  0, 0:00:00 elapsed",
        "candidate: eager, repeat 2  ────────────────────────  warming up",
        "output                      —",
        "TTFT                        —",
    ]


def test_a_new_run_resets_the_metrics(clock: Time) -> None:
    display, console = screen(clock)
    half_done(display, clock)
    display.began(PLAN, 3, 3)
    assert "TTFT             —" in text(display, console)


@pytest.mark.usefixtures("contaminations")
def test_a_run_that_is_measured_again_leaves_a_line_and_resets_the_metrics(clock: Time) -> None:
    display, console = screen(clock)
    half_done(display, clock)
    with console.capture() as captured:
        display.discarded(BUSY)
    assert "eager, repeat 2: measured again: Other programs used 20 %" in captured.get()
    assert "TTFT             —" in text(display, console)


def test_a_silent_run_is_noted(clock: Time) -> None:
    display, console = screen(clock)
    half_done(display, clock)
    clock.seconds += 7.0
    assert "1 failed, silent for 7 s, measuring" in text(display, console)[1]


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_screen_fits_a_narrow_terminal(clock: Time, width: int) -> None:
    display, console = screen(clock, width)
    half_done(display, clock)
    printed = text(display, console)
    assert len(printed) == 6
    assert max(map(len, printed)) <= width - 3
    assert printed[0].startswith("all runs ")


def test_a_run_that_ended_leaves_its_line(clock: Time) -> None:
    display, console = screen(clock)
    with console.capture() as captured, display:
        half_done(display, clock)
    assert "eager, repeat 1: done in 30.0 s, output tokens/s 2.00" in captured.get()


def test_a_name_that_looks_like_markup_is_text(clock: Time) -> None:
    display, console = screen(clock)
    display.began(planned("[red]x[/red]\x1b", 1), 1, 1)
    assert text(display, console)[1].startswith("[red]x[/red]\N{REPLACEMENT CHARACTER}, repeat 1")


# -- choosing --------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stderr", "quiet", "kind"),
    [
        (Terminal(), False, Screen),
        (Terminal(), True, SilentObserver),
        (io.StringIO(), False, Lines),
        (io.StringIO(), True, SilentObserver),
    ],
)
def test_a_screen_is_for_terminals_and_lines_for_the_rest(
    stderr: io.StringIO, *, quiet: bool, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    assert type(choose_observer(quiet=quiet)) is kind


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert type(choose_observer(quiet=False)) is Lines


def test_a_pipe_gets_lines_though_colors_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert type(choose_observer(quiet=False)) is Lines
