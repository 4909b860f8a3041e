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
def test_prompts_stand_in_a_column(tmp_path: Path, kind: str) -> None:
    path = jsonl(tmp_path) if kind == "jsonl" else table(tmp_path, kind)
    assert texts(path, 2) == {"one", "two,\nthree"}
    assert texts(path, 2, column="said") == {"ab", "abcd"}


def test_answers_are_as_long_as_asked(tmp_path: Path) -> None:
    assert {r.max_new_tokens for r in draw(jsonl(tmp_path), 4, output_tokens=7)} == {7}


def test_answers_are_as_long_as_the_recorded_ones(tmp_path: Path) -> None:
    drawn = draw(jsonl(tmp_path), 2, output_column="said")
    assert {r.text: r.max_new_tokens for r in drawn} == {"one": 2, "two,\nthree": 4}


def test_without_either_answers_have_32_tokens(tmp_path: Path) -> None:
    assert {r.max_new_tokens for r in draw(jsonl(tmp_path), 2)} == {32}


def test_each_prompt_comes_once_before_any_comes_again(tmp_path: Path) -> None:
    path = jsonl(tmp_path)
    assert len(texts(path, 2)) == 2
    assert len(draw(path, 7)) == 7


def test_of_sharegpt_the_first_question_and_its_answer_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    turns = [("system", "be brief"), ("human", "why?"), ("gpt", "because"), ("human", "really?")]
    said = [{"from": who, "value": what} for who, what in turns]
    path.write_text(json.dumps([{"id": "x", "conversations": said}]))
    (request,) = draw(path, 1)
    assert (request.text, request.max_new_tokens) == ("why?", 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\noops\n', r"a.jsonl:2: is no JSON"),
        ('{"prompt": "a"}\n{"text": "b"}\n', r"a.jsonl:2: holds text; expected a column 'prompt'"),
        ('{"prompt": ""}\n', r"a.jsonl:1: has no prompt"),
        ('{"prompt": 5}\n', r"a.jsonl:1: has no prompt \(found 5\)"),
        ('[{"conversations": [{"from": "gpt", "value": "hi"}]}]', r"\[0\]: nobody asks"),
        ('[{"conversations": ["hi"]}]', r"\[0\]: conversations are no list"),
        ("[1]", r"\[0\]: is no row"),
        ("", "holds no prompts"),
    ],
)
def test_rows_that_are_none_are_told_with_their_place(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        draw(path, 1)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        draw(tmp_path / "a.jsonl", 1)


def test_requests_have_the_class_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "kind": "chat"}\n{"prompt": "b", "kind": "batch"}')
    requests = draw(path, 2, class_column="kind")
    assert {(r.text, r.request_class) for r in requests} == {("a", "chat"), ("b", "batch")}
    assert Dataset(Dataset.Options(path=path, class_column="kind")).classes == {"chat", "batch"}
