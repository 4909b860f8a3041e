"""Waiting runs go to nodes in the plan's order, and come back when a node is lost."""

from __future__ import annotations

from fleet_nodes import BIG, SMALL, case

from llmbench.fleet.backlog import MAX_ATTEMPTS, Backlog, place_of
from llmbench.runs.run import PlannedRun

ANYWHERE = [PlannedRun(case(), repeat) for repeat in (1, 2)]
ON_GPU = PlannedRun(case({"gpu": 1}), 3)


def test_a_node_takes_the_first_run_that_it_can_hold() -> None:
    backlog = Backlog([ON_GPU, *ANYWHERE])
    place = backlog.next_place(SMALL)
    assert place == place_of(ANYWHERE[0], SMALL)
    assert backlog.take(SMALL, place) == (ANYWHERE[0], 1)
    assert backlog.in_progress == {ANYWHERE[0].name: (ANYWHERE[0], SMALL)}


def test_a_place_is_unwanted_once_other_nodes_have_taken_its_runs() -> None:
    backlog = Backlog(ANYWHERE[:1])
    waiting = backlog.next_place(SMALL)
    place = backlog.next_place(BIG)
    assert waiting
    assert place
    assert backlog.next_run(SMALL, waiting) == ANYWHERE[0]
    assert backlog.take(BIG, place)
    assert backlog.next_run(SMALL, waiting) is None
    assert backlog.take(SMALL, waiting) is None


def test_a_run_whose_node_is_lost_is_the_next_one_up_to_the_last_attempt() -> None:
    backlog = Backlog(ANYWHERE)
    place = place_of(ANYWHERE[0], SMALL)
    for _ in range(MAX_ATTEMPTS - 1):
        assert backlog.take(SMALL, place) == (ANYWHERE[0], 1)
        assert backlog.put_back(ANYWHERE[0])
    assert backlog.take(SMALL, place) == (ANYWHERE[0], 1)
    assert not backlog.put_back(ANYWHERE[0])


def test_a_backlog_is_over_when_all_runs_are_finished_or_withdrawn() -> None:
    backlog = Backlog([ANYWHERE[0], ON_GPU])
    assert backlog.withdraw(lambda run: run == ON_GPU) == [ON_GPU]
    backlog.take(SMALL, place_of(ANYWHERE[0], SMALL))
    before = backlog.is_over
    backlog.finish(ANYWHERE[0])
    assert (before, backlog.is_over) == (False, True)
    assert backlog.next_place(SMALL) is None


def test_a_stopped_backlog_hands_out_nothing() -> None:
    backlog = Backlog(ANYWHERE)
    place = place_of(ANYWHERE[0], SMALL)
    backlog.stop()
    assert backlog.take(SMALL, place) is None
    assert backlog.next_run(SMALL, place) is None
    assert backlog.next_place(SMALL) is None
