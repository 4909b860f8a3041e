"""All that is decided before the clock starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from llmbench.campaign.prepare import Prepared, prepare
from llmbench.errors import InputError
from llmbench.loads.dispatch import Dispatch
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario

SPEC: dict[str, Any] = {
    "name": "prepared",
    "model": "random:tiny",
    "workload": {"kind": "synthetic", "prompt_tokens": {"uniform": [4, 9]}, "output_tokens": 3},
    "load": {"kind": "poisson", "rate": 5},
    "requests": 20,
    "backends": ["fake"],
}


def prepared(**changes: Any) -> Prepared:
    return prepare(Case.of(Scenario.model_validate({**SPEC, **changes}), {}), Path())


def due_times(dispatch: Dispatch) -> list[float]:
    return [due for _, due in dispatch.take_due(1e9)]


def test_equal_scenarios_prepare_equal_loads() -> None:
    assert prepared().digest == prepared().digest
    assert prepared(seed=1).digest != prepared().digest


def test_the_digest_is_the_same_on_every_machine() -> None:
    assert prepared().digest.startswith("6c048c2a36c6f71a")


def test_the_schedule_has_one_row_per_known_due_time() -> None:
    load = prepared()
    assert load.schedule["time"].to_pylist() == due_times(load.dispatch)
    assert load.schedule["prompt_tokens"].to_pylist() == [len(p) for p in load.prompts]


def test_answers_decide_the_schedule_of_a_closed_loop() -> None:
    assert prepared(load={"kind": "closed", "concurrency": 2}).schedule.num_rows == 2


def test_a_stored_schedule_can_be_sent_again(tmp_path: Path) -> None:
    first, path = prepared(), tmp_path / "schedule.parquet"
    pq.write_table(first.schedule, path)
    again = prepared(load={"kind": "trace", "path": str(path)}, seed=0)
    assert again.digest == first.digest


def test_the_lengths_of_a_stored_schedule_can_be_sent_again(tmp_path: Path) -> None:
    first, path = prepared(), tmp_path / "schedule.parquet"
    pq.write_table(first.schedule, path)
    again = prepared(load="trace", workload={"kind": "trace", "path": str(path)}, seed=9)
    assert again.digest == first.digest


def test_a_trace_shorter_than_the_sample_is_tried_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "schedule.parquet"
    pq.write_table(prepared().schedule, path)
    load = prepared(load={"kind": "trace", "path": str(path), "speed": 100})
    assert len(due_times(load.sample)) == 20


def test_calibration_does_not_consume_random_numbers_of_the_load() -> None:
    def pauses(*, tried: bool) -> list[float]:
        load = prepared(load={"kind": "closed", "think_time": 1})
        if tried:
            load.sample.take_due(0.0)
            load.sample.finish(0, 0.0)
        load.dispatch.take_due(0.0)
        load.dispatch.finish(0, 0.0)
        return due_times(load.dispatch)

    assert pauses(tried=True) == pauses(tried=False)


def test_the_turns_of_a_session_have_ids_of_their_own() -> None:
    load = prepared(workload={"kind": "sessions", "turns": 3}, requests=4)
    assert [(r.id, r.session) for r, _ in load.dispatch.take_due(1e9)] == [
        (0, 0), (3, 1), (6, 2), (9, 3),
    ]  # fmt: skip


def test_the_load_shape_covers_the_last_turn() -> None:
    load = prepared(
        workload={"kind": "sessions", "turns": 2, "prompt_tokens": 10, "output_tokens": 5}
    )
    assert load.load_shape.prompt_lengths == (10, 25)
    assert load.load_shape.longest_sequence == 30


def test_minima_make_a_schedule_long_enough_for_both() -> None:
    schedule = prepared(requests=None, stop={"min_requests": 5, "min_duration": "10 s"}).schedule
    times = schedule["time"].to_pylist()
    assert len(times) > 5
    assert times[-1] - times[0] < 10


@pytest.mark.parametrize("text", ["x", "{}"])
def test_an_unreadable_trace_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schedule.parquet"
    path.write_text(text)
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        prepared(load={"kind": "trace", "path": str(path)})


def test_the_repeats_of_a_case_have_different_loads() -> None:
    case = Case.of(Scenario.model_validate(SPEC), {})
    loads = [Scenario.model_validate(case.spec_of(repeat)) for repeat in (1, 2, 1)]
    one, other, again = (prepare(Case.of(scenario, {}), Path()) for scenario in loads)
    assert one.digest == again.digest != other.digest
    assert one.prompts != other.prompts
    assert due_times(one.dispatch) != due_times(other.dispatch)


def test_a_request_beyond_the_context_is_refused_before_prompts_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmbench.models.load_tokenizer", lambda _: pytest.fail("made prompts"))
    workload = {"kind": "synthetic", "prompt_tokens": {"empirical": [9, 10_000_000]}}
    with pytest.raises(InputError, match=r"workload: the longest request has 10000032 tokens"):
        prepared(workload=workload, backends=["eager"])


def test_lengths_are_those_of_the_requests_that_are_sent() -> None:
    workload = {"kind": "synthetic", "prompt_tokens": {"empirical": [9, 10_000]}}
    assert prepared(workload=workload, backends=["eager"], requests=1, seed=3).requests
