"""One report of what several replicas report."""

from __future__ import annotations

from typing import Any

from llmbench.backends.base import BackendReport
from llmbench.backends.replicas.reports import merged
from llmbench.runs.caveats import Caveat

STEPS = {
    "seconds": {"prefill": 1.0, "decode": 2.0, "idle": 3.0},
    "counts": {"prefill": 1, "decode": 2, "idle": 3},
    "decoded_sequences": 5,
}


def report(**fields: Any) -> BackendReport:
    return BackendReport(**{"engine_steps": STEPS, **fields})


def test_a_setting_that_differs_is_a_list() -> None:
    one = report(requested={"device": "cuda"}, effective={"device": "cuda:0", "threads": 1})
    other = report(requested={"device": "cuda"}, effective={"device": "cuda:1", "threads": 1})
    both = merged([one, other])
    assert both.requested == {"device": "cuda"}
    assert both.effective == {"device": ["cuda:0", "cuda:1"], "threads": 1}


def test_memory_counters_and_steps_are_sums_and_the_slowest_start_counts() -> None:
    one = report(memory={"weights": 10}, counters={"compiles": 1}, cold_start={"load": 1.0})
    other = report(memory={"weights": 20}, counters={"compiles": 2}, cold_start={"load": 3.0})
    both = merged([one, other])
    assert both.memory == {"weights": 30}
    assert both.counters == {"compiles": 3}
    assert both.cold_start == {"load": 3.0}
    assert both.engine_steps is not None
    assert both.engine_steps["seconds"] == {"prefill": 2.0, "decode": 4.0, "idle": 6.0}
    assert both.engine_steps["counts"] == {"prefill": 2, "decode": 4, "idle": 6}
    assert both.engine_steps["decoded_sequences"] == 10


def test_what_one_of_them_lacks_is_unknown_for_its_reason() -> None:
    one = report(memory={"peak": 10})
    other = report(memory={"peak": None}, reasons={"peak": "no statistics"}, engine_steps=None)
    both = merged([one, other])
    assert both.memory == {"peak": None}
    assert both.reasons["peak"] == "no statistics"
    assert both.engine_steps is None


def test_a_counter_that_a_replica_lacks_is_0_there() -> None:
    both = merged([report(counters={"compiles": 0, "drafted": 2}), report(counters={})])
    assert both.counters == {"compiles": 0, "drafted": 2}


def test_each_replica_has_a_part_and_a_lost_one_has_none() -> None:
    both = merged([report(memory={"weights": 1}), None])
    first, lost = both.replicas
    assert first is not None
    assert first["memory"] == {"weights": 1}
    assert first["engine_steps"] == STEPS
    assert lost is None
    assert both.model_costs is None
    assert both.device_peaks is None


def test_a_check_that_is_not_equal_is_the_result() -> None:
    equal, undecided = {"result": "equal"}, {"result": "undecided"}
    checks = [report(self_check=check) for check in (equal, undecided)]
    assert merged(checks).self_check == undecided
    assert merged([checks[0], report()]).self_check == {}


def test_the_same_caveat_is_told_once() -> None:
    caveat = Caveat("unchecked")
    assert merged([report(caveats=(caveat,)), report(caveats=(caveat,))]).caveats == (caveat,)


def test_the_only_replica_keeps_all_that_it_reports() -> None:
    alone = report(effective={"device": "cpu"}, warmup_steps=(1.0,))
    both = merged([alone])
    assert (both.effective, both.warmup_steps, len(both.replicas)) == ({"device": "cpu"}, (1.0,), 1)
