"""Answers under load, compared with those to the same prompts alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from answering import answering
from hypothesis import given
from hypothesis import strategies as st

from llmbench.cli import main
from llmbench.quality.under_load import changes, choose, common_prefix
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.request import Request, Turn
from llmbench.runs.run import Compared, Run, UnderLoad

SCENARIO: dict[str, Any] = {
    "name": "under-load",
    "model": {"source": "builtin:tiny", "self_check": False},
    "workload": {"kind": "synthetic", "prompt_tokens": 8, "output_tokens": 4},
    "load": {"kind": "closed", "concurrency": 2},
    "requests": 6,
    "collect": [],
    "engine": {"slots": 2},
    "backends": ["eager"],
    "quality": {"reference": None, "under_load": 4},
}


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the scenario with changes; returns the exit code and the run."""
    monkeypatch.setenv("LLMBENCH_ROOF", "off")

    def run(**changes: Any) -> tuple[int, Run | None]:
        path = tmp_path / "scenario.yaml"
        path.write_text(json.dumps({**SCENARIO, **changes}), "utf-8")
        code = main(["run", str(path), "--out", str(tmp_path / "out"), "--quiet"])
        return code, store.read(tmp_path / "out").runs[0] if (tmp_path / "out").exists() else None

    return run


# -- which prompts ---------------------------------------------------------------------------------


def record(number: int, **more: Any) -> Record:
    plain: dict[str, Any] = {
        "request_id": number, "phase": "measured", "due": 0.0, "sent": 0.0, "started": 0.0,
        "token_times": (1.0,), "token_counts": (1,), "prompt_tokens": 1, "max_new_tokens": 1,
        "finish": "length",
    }  # fmt: skip
    return Record(**{**plain, **more})


def pool_of(*prompts: int) -> list[Request]:
    return [Request(number, (prompt,), 1) for number, prompt in enumerate(prompts)]


def test_prompts_are_chosen_among_complete_measured_requests() -> None:
    records = [
        record(0, phase="warmup"),
        record(1, finish="error"),
        record(2, finish="abandoned"),
        record(3),
        record(4, session=0),
        record(5),
    ]
    chosen = choose(pool_of(0, 1, 2, 3, 4, 5), records, 9, seed=0)
    assert {request.id for request in chosen} == {3, 5}


def test_a_prompt_that_was_sent_several_times_is_chosen_once() -> None:
    chosen = choose(pool_of(7, 8, 7), [record(number) for number in range(12)], 9, seed=0)
    assert {request.prompt for request in chosen} == {(7,), (8,)}


def test_requests_after_the_first_cycle_of_the_pool_have_its_prompts() -> None:
    (request,) = choose(pool_of(7, 8), [record(5)], 9, seed=0)
    assert (request.id, request.prompt) == (5, (8,))


def test_ids_of_requests_after_a_session_are_counted_with_its_turns() -> None:
    session = Request(0, (1,), 1, turns=(Turn((2,), 1, 0.0),))
    (request,) = choose([session, *pool_of(9)], [record(2)], 9, seed=0)
    assert request.prompt == (9,)


def test_the_choice_is_that_of_the_seed() -> None:
    pool, records = pool_of(*range(50)), [record(number) for number in range(50)]
    assert choose(pool, records, 5, seed=1) == choose(pool, records[::-1], 5, seed=1)
    assert choose(pool, records, 5, seed=1) != choose(pool, records, 5, seed=2)
    assert len(choose(pool, records, 5, seed=1)) == 5


def test_nothing_is_chosen_of_nothing() -> None:
    assert choose(pool_of(1), [], 5, seed=0) == []


# -- divergence ------------------------------------------------------------------------------------

SYMBOLS = st.text("ab") | st.lists(st.integers(0, 1)).map(tuple)


@given(SYMBOLS, SYMBOLS, SYMBOLS)
def test_the_common_prefix_ends_where_answers_differ(
    prefix: Sequence[Any], one: Sequence[Any], other: Sequence[Any]
) -> None:
    one, other = [*prefix, *one], [*prefix, *other]
    length = common_prefix(one, other)
    assert length == common_prefix(other, one) >= len(prefix)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


@given(SYMBOLS)
def test_equal_answers_have_no_difference(answer: Sequence[Any]) -> None:
    assert common_prefix(answer, answer) == len(answer)


def compared(alike: int, *, alone: bool = False) -> Compared:
    return Compared(0, 4, alike, changes_alone=alone, neighbors=1.0)


def test_changed_answers_are_a_caveat() -> None:
    answers = (compared(4), compared(3, alone=True), compared(0))
    (caveat,) = changes(UnderLoad("tokens", answers))
    assert caveat.message.startswith("Under load, 2 of 3 greedy answers differ")
    assert "1 changed between two sequential passes." in caveat.message
    assert changes(UnderLoad("tokens", (compared(4),))) == ()


# -- whole runs ------------------------------------------------------------------------------------


def test_answers_of_a_local_backend_are_compared_as_tokens(ran: Any) -> None:
    code, run = ran()
    under_load = run.quality.under_load
    assert (code, under_load.reason, under_load.unit) == (0, None, "tokens")
    assert [(answer.length, answer.changes_alone) for answer in under_load.answers] == [
        (4, False)
    ] * 4
    assert all(0 < answer.neighbors <= 1 for answer in under_load.answers)
    assert run.records["output_ids"].null_count == run.records.num_rows == 6  # not stored
    assert run.quality.reason == "`quality.reference` is null"


def test_kept_outputs_are_stored_as_without_the_comparison(ran: Any) -> None:
    _, run = ran(keep_outputs=True)
    assert len(run.quality.under_load.answers) == 4
    assert run.records["output_ids"].null_count == 0


def test_answers_of_a_backend_that_keeps_none_are_unknown(ran: Any) -> None:
    code, run = ran(backends=["fake"])
    assert (code, run.quality.under_load.answers) == (0, ())
    assert run.quality.under_load.reason == "this backend keeps no answers to compare"


@pytest.mark.slow
def test_sessions_are_not_compared(ran: Any) -> None:
    workload = {"kind": "sessions", "turns": 2, "prompt_tokens": 4, "output_tokens": 4}
    _, run = ran(workload=workload)
    assert run.quality.under_load.reason == "no measured request without a session is complete"


def test_sampled_answers_are_refused(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = ran(sampling={"temperature": 0.5})
    assert code == 2
    assert "`quality.under_load` compares greedy answers" in capsys.readouterr().err


def test_bounds_need_a_reference(ran: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = ran(quality={"reference": None, "min_exact_match": 1})
    assert code == 2
    assert "`reference: null` compares with nothing" in capsys.readouterr().err


def on_endpoint(url: str, **more: Any) -> dict[str, Any]:
    backend = {"kind": "endpoint", "url": url, "cache": {"prompts": "same"}}
    return {"backends": [backend], "stop_at_eos": True, "model": "served:model", **more}


def test_answers_of_an_endpoint_are_compared_as_text_and_graded(ran: Any, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number} + 1", "answer": number + 1} for number in range(6)]
    path = tmp_path / "sums.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    workload = {"kind": "dataset", "path": str(path), "answer_column": "answer"}

    def answers(body: dict[str, Any], before: int) -> list[dict[str, Any]]:
        number = int(body["messages"][0]["content"].split()[0])
        is_wrong = before < 6 and number == 2  # in the load
        return [{"content": "It is "}, {"content": "five" if is_wrong else str(number + 1)}]

    with answering(answers) as server:
        _, run = ran(**on_endpoint(server.url, workload=workload, quality={"under_load": 6}))
    under_load = run.quality.under_load
    assert (under_load.reason, under_load.unit, len(under_load.answers)) == (None, "characters", 6)
    (changed,) = [answer for answer in under_load.answers if answer.is_changed]
    assert (changed.alike, changed.length, changed.changes_alone) == (6, 10, False)
    assert [changed.right_alone, changed.right_under_load] == [True, False]
    assert {answer.right_alone for answer in under_load.answers} == {True}
    assert len(server.of_load) == 18  # the load, and two passes
    assert {caveat.kind for caveat in run.caveats} >= {"answers-changed"}
    assert "quality-unknown" not in {caveat.kind for caveat in run.caveats}


def test_a_failure_alone_is_a_reason_and_the_load_is_kept(ran: Any) -> None:
    def answers(_body: dict[str, Any], before: int) -> list[dict[str, Any]]:
        return [{"content": "a"}] if before < 6 else []

    with answering(answers) as server:
        code, run = ran(**on_endpoint(server.url))
    assert (code, run.records.num_rows) == (0, 6)
    assert run.quality.under_load.reason == (
        "the comparison failed: a sequential request failed: the response has no text"
    )
