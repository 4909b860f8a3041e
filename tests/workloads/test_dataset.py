"""Prompts from files."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench.errors import InputError
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.dataset import Dataset


def draw(path: Path, count: int, **options: Any) -> list[Request]:
    workload = Dataset(Dataset.Options.model_validate({"path": path, **options}))
    return list(islice(workload.requests(ByteTokenizer(256), 0), count))


def texts(path: Path, count: int, **options: Any) -> set[str | None]:
    return {request.text for request in draw(path, count, **options)}


ROWS = [{"prompt": "one", "said": "ab"}, {"prompt": "two,\nthree", "said": "abcd"}]


def jsonl(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def table(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    frame = pd.DataFrame(ROWS)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_prompts_are_read_from_a_column(tmp_path: Path, kind: str) -> None:
    path = jsonl(tmp_path) if kind == "jsonl" else table(tmp_path, kind)
    assert texts(path, 2) == {"one", "two,\nthree"}
    assert texts(path, 2, column="said") == {"ab", "abcd"}


def test_answers_have_the_requested_length(tmp_path: Path) -> None:
    assert {r.max_new_tokens for r in draw(jsonl(tmp_path), 4, output_tokens=7)} == {7}


def test_answers_have_the_recorded_length(tmp_path: Path) -> None:
    drawn = draw(jsonl(tmp_path), 2, output_column="said")
    assert {r.text: r.max_new_tokens for r in drawn} == {"one": 2, "two,\nthree": 4}


def test_without_either_answers_have_32_tokens(tmp_path: Path) -> None:
    assert {r.max_new_tokens for r in draw(jsonl(tmp_path), 2)} == {32}


def test_each_prompt_is_used_once_before_any_is_used_again(tmp_path: Path) -> None:
    path = jsonl(tmp_path)
    assert len(texts(path, 2)) == 2
    assert len(draw(path, 7)) == 7


def test_the_first_message_and_answer_of_a_sharegpt_conversation_are_used(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    turns = [("system", "be brief"), ("human", "why?"), ("gpt", "because"), ("human", "really?")]
    said = [{"from": who, "value": what} for who, what in turns]
    path.write_text(json.dumps([{"id": "x", "conversations": said}]))
    (request,) = draw(path, 1)
    assert (request.text, request.max_new_tokens) == ("why?", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\noops\n', r"a.jsonl:2: not valid JSON"),
        ('{"prompt": "a"}\n{"text": "b"}\n', r"a.jsonl:2: found text; expected a column 'prompt'"),
        ('{"prompt": ""}\n', r"a.jsonl:1: found ''; expected prompt text"),
        ('{"prompt": 5}\n', r"a.jsonl:1: found 5; expected prompt text"),
        (
            '[{"conversations": [{"from": "gpt", "value": "hi"}]}]',
            r"\[0\]: the conversation has no user message",
        ),
        ('[{"conversations": ["hi"]}]', r"\[0\]: expected conversations to be a list"),
        ("[1]", r"\[0\]: found 1; expected a column"),
        ("", "has no rows"),
    ],
)
def test_malformed_rows_are_reported_with_their_location(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        draw(path, 1)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        draw(tmp_path / "a.jsonl", 1)


def test_requests_have_the_class_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "kind": "chat"}\n{"prompt": "b", "kind": "batch"}')
    requests = draw(path, 2, class_column="kind")
    assert {(r.text, r.request_class) for r in requests} == {("a", "chat"), ("b", "batch")}
    assert Dataset(Dataset.Options(path=path, class_column="kind")).classes == {"chat", "batch"}
