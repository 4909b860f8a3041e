"""Contaminated runs are measured again, and what is discarded is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_sets import run_of

from llmbench.campaign import execute, plan
from llmbench.campaign.job import Job
from llmbench.campaign.observer import Listener, SilentObserver
from llmbench.campaign.process import Installation
from llmbench.runs import store
from llmbench.runs.caveats import KINDS, Caveat
from llmbench.runs.run import Failure, PlannedRun, Run
from llmbench.runs.run_set import RunSet
from llmbench.scenario import file as scenario_file

SCENARIO = """\
name: contaminated
model: random:tiny
workload: {kind: synthetic, prompt_tokens: 8, output_tokens: 4}
load: closed
requests: 10
collect: []
backends: [fake]
"""
BUSY, BUSIER = Caveat("other-load", percent=20.0), Caveat("other-load", percent=31.0)
UNSTEADY = Caveat("never-steady", method="MSER-5")

Attempt = Sequence[Caveat] | Failure
Begin = Callable[..., RunSet]


pytestmark = pytest.mark.usefixtures("contaminations")


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Begin a run set of one run, whose attempts have the given caveats or fail."""

    def begin(*attempts: Attempt, overrides: Sequence[str] = ()) -> RunSet:
        path = tmp_path / "contaminated.yaml"
        path.write_text(SCENARIO)
        attempt = iter(attempts)

        def launch(
            _: Installation, _module: str, job: Job, _timeout: float, _listener: Listener
        ) -> Failure | None:
            outcome = next(attempt)
            if isinstance(outcome, Failure):
                return outcome
            run = replace(run_of(PlannedRun(job.case, job.repeat)), caveats=tuple(outcome))
            store.write_run(Path(job.folder), run)
            return None

        monkeypatch.setattr(Installation, "launch", launch)
        source = scenario_file.load(path, overrides)
        return plan.begin(source, tmp_path / "results")

    return begin


class Listening(SilentObserver):
    """Keeps what it receives about attempts."""

    def __init__(self) -> None:
        self.events: list[tuple[str, tuple[Caveat, ...]]] = []

    def discarded(self, run: Run) -> None:
        self.events.append(("discarded", run.caveats))

    def ended(self, run: Run) -> None:
        self.events.append(("ended", run.caveats))


def measured(run_set: RunSet, observer: SilentObserver | None = None) -> Run:
    (run,) = execute.run_all(run_set, observer or SilentObserver()).runs
    return run


def what_was_wrong(run: Run) -> list[list[str]]:
    discarded = run.facts["discarded_attempts"]
    return [[caveat["kind"] for caveat in attempt["caveats"]] for attempt in discarded]


def test_a_contaminated_run_is_measured_again_and_the_clean_attempt_is_kept(begin: Begin) -> None:
    run = measured(begin([BUSY], [BUSIER], []))
    assert run.caveats == ()
    assert what_was_wrong(run) == [["other-load"], ["other-load"]]


def test_a_discarded_attempt_stays_in_the_folder(begin: Begin) -> None:
    run_set = begin([BUSY], [])
    run = measured(run_set)
    (discarded,) = store.read_discarded(run_set.folder, run)
    assert discarded.caveats == (BUSY,)
    assert discarded.records.num_rows == run.records.num_rows > 0


def test_after_the_last_attempt_a_contaminated_run_is_kept_with_its_caveats(begin: Begin) -> None:
    run = measured(begin([BUSY], [BUSY], [BUSIER]))
    assert run.caveats == (BUSIER,)
    assert len(run.facts["discarded_attempts"]) == 2


def test_a_clean_run_is_measured_once_and_has_no_discarded_attempts(begin: Begin) -> None:
    assert "discarded_attempts" not in measured(begin([])).facts


def test_no_run_is_measured_again_if_the_scenario_says_so(begin: Begin) -> None:
    run = measured(begin([BUSY], overrides=["rerun_contaminated=0"]))
    assert run.caveats == (BUSY,)


def test_a_caveat_that_the_load_itself_causes_is_not_measured_again(begin: Begin) -> None:
    assert measured(begin([UNSTEADY])).caveats == (UNSTEADY,)


def test_only_what_blocks_claims_is_worth_another_attempt() -> None:
    passing = {name for name, kind in KINDS.items() if kind.may_pass}
    assert passing == {
        "other-load", "cpu-stolen", "gpu-throttled", "gpu-shared", "unsteady-warmup",
    }  # fmt: skip
    assert all(KINDS[name].blocks_claims for name in passing)


def test_a_measured_attempt_is_kept_when_the_next_one_fails(begin: Begin) -> None:
    run_set = begin([BUSY], Failure("timeout", "did not finish within 5 s"))
    run = measured(run_set)
    assert (run.failure, run.caveats) == (None, (BUSY,))
    (attempt,) = run.facts["discarded_attempts"]
    assert attempt["failure"] == "did not finish within 5 s"
    assert store.read(run_set.folder).missing == []


def test_a_failed_first_attempt_is_a_failed_run(begin: Begin) -> None:
    run_set = begin(Failure("error", "broken"))
    assert measured(run_set).failure == Failure("error", "broken")
    assert store.read_discarded(run_set.folder, run_set.plan[0]) == []


def test_a_worker_that_is_killed_after_it_has_stored_the_run_has_measured_it(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_set = begin([])
    launch = Installation.launch

    def launch_and_kill(*arguments: Any) -> Failure:
        launch(*arguments)
        return Failure("killed", "the worker was killed by SIGTERM")

    monkeypatch.setattr(Installation, "launch", launch_and_kill)
    assert measured(run_set).failure is None
    assert store.read(run_set.folder).missing == []


def test_a_resumed_run_has_the_attempts_that_are_left(begin: Begin) -> None:
    class Interrupting(SilentObserver):
        def began(self, *_: object) -> None:
            store.discard(run_set.folder, run_of(run_set.plan[0]))
            raise KeyboardInterrupt

    run_set = begin([BUSY], [BUSY])
    store.write_run(run_set.folder, replace(run_of(run_set.plan[0]), caveats=(BUSY,)))
    with pytest.raises(KeyboardInterrupt):
        execute.run_all(run_set, Interrupting())
    observer = Listening()
    run = measured(store.read(run_set.folder), observer)
    assert len(run.facts["discarded_attempts"]) == 2
    assert [event for event, _ in observer.events] == ["discarded", "ended"]


def test_an_observer_is_told_of_every_attempt_that_is_discarded(begin: Begin) -> None:
    observer = Listening()
    measured(begin([BUSY], [BUSIER], []), observer)
    assert observer.events == [("discarded", (BUSY,)), ("discarded", (BUSIER,)), ("ended", ())]


def test_checks_and_searches_measure_again_by_the_same_rule(begin: Begin) -> None:
    run_set = begin([BUSY], [])
    _, run = execute.run_more(run_set, run_set.plan[0], SilentObserver())
    assert run.caveats == ()
    assert what_was_wrong(run) == [["other-load"]]


def test_workers_of_other_versions_are_not_sent_what_they_do_not_know(begin: Begin) -> None:
    case = begin([], overrides=["rerun_contaminated=1", "engine.threads=auto"]).plan[0].case
    assert (case.spec["rerun_contaminated"], case.spec["engine"]) == (1, {"threads": "auto"})
    spec = Job(folder="x", case=case).message()["spec"]
    assert "rerun_contaminated" not in spec
    assert spec["engine"] == {}
