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


def test_the_first_turn_of_a_sharegpt_conversation_is_used(tmp_path: Path) -> None:
    path = tmp_path / "sharegpt.json"
    turns = [("system", "be brief"), ("human", "why?"), ("gpt", "because"), ("human", "really?")]
    said = [{"from": who, "value": what} for who, what in turns]
    path.write_text(json.dumps([{"id": "x", "conversations": said}]))
    (request,) = draw(path, 1)
    assert (request.text, request.max_new_tokens) == ("be brief\n\nwhy?", 7)
    assert [(m.role, m.content) for m in request.messages] == [
        ("system", "be brief"),
        ("user", "why?"),
    ]


def written(folder: Path, text: str, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\noops\n', r"a.jsonl:2: not valid JSON"),
        ('{"text": "b"}\n', r"a.jsonl:1: found text; expected a column 'prompt'"),
        ("[1]", r"a.jsonl\[0\]: found 1; expected a column 'prompt'; set `column`"),
        ('{"prompt": ""}\n', r"no row can be used: 1 without a prompt; expected rows with prompts"),
        ('{"prompt": 5}\n', r"no row can be used: 1 with a prompt that is not text"),
        ('[{"conversations": [{"from": "gpt", "value": "hi"}]}]', "1 without a question"),
        ('[{"conversations": ["hi"]}]', "1 with a conversation that is not a list of objects"),
        ("", "has no rows; expected rows with prompts"),
    ],
)
def test_a_file_without_prompts_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        draw(written(tmp_path, text), 1)


UNUSABLE = {
    "gpt only": ({"conversations": [{"from": "gpt", "value": "x"}]}, "without a question"),
    "empty": ({"conversations": []}, "without a question"),
    "null": ({"id": "a", "conversations": None}, "without a prompt"),
    "null prompt": ({"prompt": None}, "without a prompt"),
    "blank prompt": ({"prompt": " \n"}, "without a prompt"),
    "no prompt": ({"text": "x"}, "without a prompt"),
    "number": ({"prompt": 5}, "with a prompt that is not text"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "with image_url in a message",
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_row_without_a_prompt_is_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    unusable, reason = UNUSABLE[kind]
    lines = [{"prompt": "one"}, unusable, {"prompt": "two"}]
    path = written(tmp_path, "\n".join(map(json.dumps, lines)))
    workload = Dataset(Dataset.Options(path=path))
    assert texts(path, 2) == {"one", "two"}
    (caveat,) = workload.caveats()
    message = f"1 of 3 rows of a.jsonl were left out: 1 {reason}."
    assert (caveat.kind, caveat.message) == ("rows-left-out", message)


def test_a_complete_file_has_no_caveat(tmp_path: Path) -> None:
    assert Dataset(Dataset.Options(path=jsonl(tmp_path))).caveats() == ()


def test_a_column_may_contain_messages(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "hi"}]}
    assert texts(written(tmp_path, json.dumps(row)), 1) == {"hi"}


def test_a_column_that_is_set_takes_precedence_over_a_conversation(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "hi"}]
    path = written(tmp_path, json.dumps({"prompt": "ho", "messages": chat}))
    assert texts(path, 1) == {"hi"}
    assert texts(path, 1, column="prompt") == {"ho"}
    assert texts(path, 1, column="text") == {"hi"}


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\x0b", "\x0c"])
def test_other_separators_are_part_of_a_prompt(tmp_path: Path, separator: str) -> None:
    text = f"line one{separator}line two"
    assert texts(written(tmp_path, f'{{"prompt": "{text}"}}'), 1) == {text}
    assert texts(written(tmp_path, f"prompt\n{text}\n", "a.csv"), 1) == {text}


def test_half_a_surrogate_pair_can_be_tokenized(tmp_path: Path) -> None:
    assert texts(written(tmp_path, r'{"prompt": "cut \ud83d"}'), 1) == {"cut \ufffd"}


# -- recorded outputs and classes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"prompt": "x", "out": 100}\n{"prompt": "y", "out": 7.0}'),
        ("a.csv", "prompt,out\nx,100\ny,7.0\n"),
        ("a.tsv", "prompt\tout\nx\t100\ny\t 7\n"),
    ],
)
def test_an_output_column_may_contain_lengths(tmp_path: Path, name: str, text: str) -> None:
    drawn = draw(written(tmp_path, text, name), 2, output_column="out")
    assert {r.text: r.max_new_tokens for r in drawn} == {"x": 100, "y": 7}


def test_a_column_of_csv_with_other_texts_contains_outputs(tmp_path: Path) -> None:
    path = written(tmp_path, "prompt,out\nx,100\ny,some\n", "a.csv")
    drawn = draw(path, 2, output_column="out")
    assert {r.text: r.max_new_tokens for r in drawn} == {"x": 3, "y": 4}


@pytest.mark.parametrize("out", ["null", '""', "0", "-1", "true", "1e9"])
def test_a_row_without_an_output_is_left_out(tmp_path: Path, out: str) -> None:
    path = written(tmp_path, f'{{"prompt": "x", "out": 5}}\n{{"prompt": "y", "out": {out}}}')
    assert texts(path, 2, output_column="out") == {"x"}
    assert texts(path, 2, output_column="out", output_tokens=4) == {"x", "y"}


@pytest.mark.parametrize("option", ["output_column", "class_column"])
def test_a_column_that_is_missing_is_an_error(tmp_path: Path, option: str) -> None:
    path = written(tmp_path, '{"prompt": "hi", "response": "a b"}')
    expected = f"did you mean 'response'\\? set `{option}`"
    with pytest.raises(InputError, match=f"a column 'responses'; {expected}"):
        Dataset(Dataset.Options.model_validate({"path": path, option: "responses"})).check()


def test_a_class_may_be_a_number(tmp_path: Path) -> None:
    path = written(tmp_path, '{"prompt": "a", "class": 1}\n{"prompt": "b", "class": null}')
    workload = Dataset(Dataset.Options(path=path, class_column="class"))
    assert workload.classes == {"1"}
    (caveat,) = workload.caveats()
    assert caveat.parameters["reasons"] == ["1 without a class"]


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        draw(tmp_path / "a.jsonl", 1)


def test_requests_have_the_class_of_their_row(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a", "kind": "chat"}\n{"prompt": "b", "kind": "batch"}')
    requests = draw(path, 2, class_column="kind")
    assert {(r.text, r.request_class) for r in requests} == {("a", "chat"), ("b", "batch")}
    assert Dataset(Dataset.Options(path=path, class_column="kind")).classes == {"chat", "batch"}


# -- constraints and right answers -----------------------------------------------------------------

FORMAT = {"type": "json_object"}


def constrained(folder: Path) -> Path:
    path = folder / "constrained.jsonl"
    rows = [
        {"prompt": "one", "response_format": FORMAT, "answer": 1},
        {"prompt": "two", "answer": "yes"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.mark.parametrize(
    ("constrain", "sent"),
    [
        ("always", {("one", True), ("two", False)}),
        ("never", {("one", False), ("two", False)}),
        ("both", {("one", True), ("one", False), ("two", False)}),
    ],
)
def test_rows_with_a_constraint_are_sent_with_it_without_it_or_both(
    tmp_path: Path, constrain: str, sent: set[tuple[str, bool]]
) -> None:
    drawn = draw(constrained(tmp_path), len(sent), constrain=constrain)
    assert {(str(r.text), r.constraint is not None) for r in drawn} == sent


def test_the_kinds_of_constraints_are_known_before_anything_is_sent(tmp_path: Path) -> None:
    options = {"path": constrained(tmp_path)}
    assert Dataset(Dataset.Options.model_validate(options)).constraints == {"json_object"}
    never = Dataset.Options.model_validate({**options, "constrain": "never"})
    assert Dataset(never).constraints == set()
    assert Dataset(Dataset.Options(path=jsonl(tmp_path))).constraints == set()


def test_right_answers_are_read_from_a_column(tmp_path: Path) -> None:
    drawn = draw(constrained(tmp_path), 2, answer_column="answer")
    expected = {r.text: r.expected and (r.expected.kind, r.expected.value) for r in drawn}
    assert expected == {"one": ("number", "1"), "two": ("choice", "yes")}
    assert {r.expected for r in draw(constrained(tmp_path), 2)} == {None}


def test_a_column_of_answers_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a column 'right'; set `answer_column`"):
        draw(constrained(tmp_path), 1, answer_column="right")
