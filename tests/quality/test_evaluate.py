"""When the quality pass runs, and what a missed bound leads to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.run import Run

SCENARIO: dict[str, Any] = {
    "name": "quality",
    "model": {"source": "builtin:tiny", "self_check": False},
    "workload": {"kind": "synthetic", "prompt_tokens": 8, "output_tokens": 4},
    "load": {"kind": "closed", "concurrency": 2},
    "requests": 2,
    "collect": [],
    "engine": {"slots": 2},
    "backends": ["eager"],
    "quality": {"tokens": 32, "window": 32, "answers": 2, "answer_tokens": 4},
}
ROUGH = {"kind": "eager", "compress": {"prune": {"kind": "two-four"}}}


@pytest.fixture
def ran(tmp_path: Path) -> Any:
    """Run the scenario with changes; returns the exit code and the runs."""

    def run(quality: dict[str, Any] | None = None, **changes: Any) -> tuple[int, tuple[Run, ...]]:
        scenario = {**SCENARIO, **changes}
        scenario["quality"] = {**scenario["quality"], **(quality or {})}
        path = tmp_path / "scenario.yaml"
        path.write_text(json.dumps(scenario), "utf-8")
        out = tmp_path / "out"
        code = main(["run", str(path), "--out", str(out), "--quiet"])
        return code, store.read(out).runs if out.exists() else ()

    return run


def kinds(run: Run) -> set[str]:
    return {caveat.kind for caveat in run.caveats}


def test_a_case_is_examined_in_its_first_process_alone(ran: Any) -> None:
    code, runs = ran(repeats=2)
    assert code == 0
    first, second = sorted(runs, key=lambda run: run.repeat)
    assert (first.quality.reference, first.quality.tokens.num_rows) == ("eager", 32)
    assert [answer.alike for answer in first.quality.answers] == [4, 4]
    assert second.quality.reason == "measured in the first process of each case"
    assert "quality-unknown" not in kinds(second)


def test_a_missed_bound_is_a_caveat(ran: Any) -> None:
    code, (run,) = ran({"max_perplexity_ratio": 1.0001}, backends=[ROUGH])
    assert code == 0
    assert "quality-breached" in kinds(run)


def test_a_missed_bound_fails_the_command_where_that_is_asked_for(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = ran({"min_top1_agreement": 0.99, "on_breach": "fail"}, backends=[ROUGH])
    assert code == 1
    assert "Quality is out of bounds: top-1 agreement is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backends": ["fake"]}, "this backend exposes no logits"),
        ({"model": "random:tiny"}, "not meaningful on random weights"),
        ({"quality": {"tokens": 10_000_000}}, "the quality pass failed: quality.text: too short"),
        ({"quality": {"reference": "fake"}}, "quality.reference: fake exposes no logits"),
    ],
)
def test_unavailable_quality_has_a_reason_and_the_load_is_kept(
    ran: Any, changes: dict[str, Any], message: str
) -> None:
    _, (run,) = ran(**changes)
    assert run.status == "done"
    assert run.records.num_rows == 2
    assert message in run.quality.reason
    assert "quality-unknown" in kinds(run)


def test_unavailable_attention_has_a_reason_and_the_scores_are_kept(ran: Any) -> None:
    _, (run,) = ran({"explain": {"layers": [99]}})
    assert run.quality.attention["reason"].startswith("the reference has no head 0 in layer 99")
    assert run.quality.tokens.num_rows == 32


def test_a_text_that_cannot_be_read_stops_the_command_before_it_measures(
    ran: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, runs = ran({"text": "/nowhere.txt"})
    assert (code, runs) == (2, ())
    assert "quality.text: /nowhere.txt: cannot be read" in capsys.readouterr().err
