"""Runs that wait for other users of a cluster are reported, after a while."""

from __future__ import annotations

import re

from fleet_nodes import BIG, SMALL, case

from llmbench.fleet.backlog import Backlog, place_of
from llmbench.fleet.waiting import PATIENCE_SECONDS, Waiting
from llmbench.runs.run import PlannedRun

ANYWHERE = PlannedRun(case(), 1)
PLACES = [(node, place_of(ANYWHERE, node)) for node in (SMALL, BIG)]


class Clock:
    """A clock that tests set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_message_has_the_run_what_it_waits_for_and_since_when() -> None:
    clock = Clock()
    waiting = Waiting(Backlog([ANYWHERE]), clock)
    with waiting.added(*PLACES[0]), waiting.added(*PLACES[1]):
        clock.now += PATIENCE_SECONDS
        (message,) = waiting.messages()
    assert re.fullmatch(
        r"fake, repeat 1 has waited since \d\d:\d\d:\d\d for CPU 4 on ant or CPU 8, GPU 2 on cat, "
        "in use by other work on the cluster",
        message,
    )


def test_nothing_is_reported_before_a_while_or_after_the_claim_is_granted() -> None:
    clock = Clock()
    waiting = Waiting(Backlog([ANYWHERE]), clock)
    with waiting.added(*PLACES[0]):
        clock.now = PATIENCE_SECONDS - 1
        early = waiting.messages()
        clock.now = PATIENCE_SECONDS
        assert len(waiting.messages()) == 1
    assert (early, waiting.messages()) == ([], [])


def test_claims_on_nodes_that_measure_runs_of_the_fleet_are_not_reported() -> None:
    clock = Clock()
    shared = [PlannedRun(case({"cpu": 3, "share": True}), repeat) for repeat in (1, 2)]
    backlog = Backlog(shared)
    waiting, place = Waiting(backlog, clock), place_of(shared[0], SMALL)
    with waiting.added(SMALL, place):
        clock.now = PATIENCE_SECONDS
        before = waiting.messages()
        assert backlog.take(SMALL, place)
        assert (len(before), waiting.messages()) == (1, [])


def test_a_message_names_two_nodes_and_counts_the_others() -> None:
    clock = Clock()
    waiting = Waiting(Backlog([ANYWHERE]), clock)
    with waiting.added(*PLACES[0]), waiting.added(*PLACES[0]), waiting.added(*PLACES[1]):
        clock.now = PATIENCE_SECONDS
        (message,) = waiting.messages()
    assert "for CPU 4 on ant or CPU 4 on ant or 1 other node, in use" in message
