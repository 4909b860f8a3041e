"""Requests that constrain their answers, on a server and where that is impossible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from answering import answering

from llmbench.analysis.metrics import summarize
from llmbench.cli import main
from llmbench.runs import store
from llmbench.runs.run import Run

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
TOOLS = [{"type": "function", "function": {"name": "count", "parameters": SCHEMA}}]
SCENARIO: dict[str, Any] = {
    "name": "structured",
    "model": "served:model",
    "load": {"kind": "closed", "concurrency": 2},
    "requests": 8,
    "collect": [],
    "stop_at_eos": True,
}


@pytest.fixture
def ran(tmp_path: Path) -> Any:
    """Run rows on a server; returns the exit code and the run."""

    def run(
        rows: list[dict[str, Any]], backend: Any, constrain: str = "always", **changes: Any
    ) -> tuple[int, Run | None]:
        path, out = tmp_path / "rows.jsonl", tmp_path / "out"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        workload = {"kind": "dataset", "path": str(path), "constrain": constrain}
        scenario = {**SCENARIO, "workload": workload, "backends": [backend], **changes}
        (tmp_path / "scenario.yaml").write_text(json.dumps(scenario), "utf-8")
        code = main(["run", str(tmp_path / "scenario.yaml"), "--out", str(out), "--quiet"])
        return code, store.read(out).runs[0] if out.exists() else None

    return run


def endpoint(url: str, **options: Any) -> dict[str, Any]:
    return {"kind": "endpoint", "url": url, **options}


def in_json(body: dict[str, Any], _before: int) -> list[dict[str, Any]]:
    """Answer with JSON only if that is asked for."""
    text = '{"n": 1}' if "response_format" in body else "one"
    return [{"content": letter} for letter in text]


def test_rows_send_their_response_format_and_answers_are_validated(ran: Any) -> None:
    rows = [{"prompt": f"count {n}", "response_format": FORMAT} for n in range(4)]
    with answering(in_json) as server:
        code, run = ran(rows, endpoint(server.url))
    assert code == 0
    assert [body["response_format"] for body in server.of_load] == [FORMAT] * 8
    assert run.records["constraint"].to_pylist() == ["json_schema"] * 8
    assert run.records["valid"].to_pylist() == [True] * 8
    assert summarize(run)["valid_answers"].value == 1


def test_a_server_that_ignores_the_constraint_has_invalid_answers(ran: Any) -> None:
    rows = [{"prompt": f"count {n}", "response_format": FORMAT} for n in range(4)]
    with answering(lambda *_: [{"content": "one"}]) as server:
        _, run = ran(rows, endpoint(server.url))
    assert run.records["invalid_reason"].to_pylist() == ["not JSON"] * 8
    assert summarize(run)["valid_answers"].value == 0


def test_prompts_are_sent_with_and_without_their_constraint(ran: Any) -> None:
    rows = [{"prompt": f"count {n}", "response_format": FORMAT} for n in range(4)]
    with answering(in_json) as server:
        _, run = ran(rows, endpoint(server.url), constrain="both")
    sent = run.records.select(["prompt_id", "constraint", "valid"]).to_pylist()
    assert len({(row["prompt_id"], row["constraint"]) for row in sent}) == 8
    assert {row["valid"] for row in sent if row["constraint"] is None} == {None}
    assert summarize(run)["constrained_e2e_ratio"].n == 4


def test_streamed_tool_calls_are_assembled_and_validated(ran: Any) -> None:
    rows = [{"prompt": f"count {n}", "tools": TOOLS, "tool_choice": "required"} for n in range(8)]

    def answers(body: dict[str, Any], _before: int) -> list[dict[str, Any]]:
        assert (body["tools"], body["tool_choice"]) == (TOOLS, "required")
        is_wrong = body["messages"][0]["content"].endswith("7")
        parts = ["", '{"n": ', '"one"}' if is_wrong else "1}"]
        name = {"name": "count"}
        return [
            {"tool_calls": [{"index": 0, "function": {**(name if not i else {}), "arguments": a}}]}
            for i, a in enumerate(parts)
        ]

    with answering(answers) as server:
        _, run = ran(rows, endpoint(server.url))
    reasons = run.records["invalid_reason"].to_pylist()
    assert sorted(map(str, reasons)) == ["None"] * 7 + ["arguments against the schema: type"]
    assert summarize(run)["valid_answers"].value == 7 / 8


def test_constraints_are_left_out_on_request(ran: Any) -> None:
    rows = [{"prompt": f"count {n}", "response_format": FORMAT} for n in range(4)]
    with answering(in_json) as server:
        _, run = ran(rows, endpoint(server.url), constrain="never")
    assert not any("response_format" in body for body in server.of_load)
    assert run.records["constraint"].null_count == 8


ROW = {"prompt": "count", "response_format": FORMAT}


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        (ROW, {"backends": ["fake"]}, "fake cannot; use an endpoint, or set `constrain: never`"),
        (ROW, {"backends": ["eager"], "model": "builtin:tiny"}, "eager cannot; use an endpoint"),
        (
            {"prompt": "a", "tools": TOOLS},
            {"backends": [endpoint("http://127.0.0.1:9", api="completions")]},
            "its rows have `tools`, which `api: completions` lacks; set `api: chat`",
        ),
        (ROW, {"stop_at_eos": False}, "which then end by themselves; set `stop_at_eos: true`"),
    ],
)
def test_what_is_impossible_is_refused_before_anything_is_measured(
    ran: Any,
    capsys: pytest.CaptureFixture[str],
    row: dict[str, Any],
    changes: dict[str, Any],
    message: str,
) -> None:
    code, run = ran([row], endpoint("http://127.0.0.1:9"), **changes)
    assert (code, run) == (2, None)
    error = capsys.readouterr().err
    assert message in error
    assert "scenario.yaml:1: workload: " in error
