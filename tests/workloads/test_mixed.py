"""Mixtures of workloads."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.mixed import Mixed

CLASSES = {
    "chat": {"share": 3, "workload": {"kind": "synthetic", "prompt_tokens": 8}},
    "batch": {"workload": {"kind": "synthetic", "prompt_tokens": 64}},
}


def mixed(**classes: Any) -> Mixed:
    return Mixed(Mixed.Options.model_validate({"classes": classes}))


def draw(count: int, seed: int = 0, **classes: Any) -> list[Request]:
    return list(islice(mixed(**(classes or CLASSES)).requests(ByteTokenizer(256), seed), count))


def test_classes_are_drawn_by_their_shares() -> None:
    seen = Counter(request.request_class for request in draw(4000))
    assert seen["chat"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert seen.keys() == {"chat", "batch"}


def test_each_class_has_its_own_workload() -> None:
    lengths = {(request.request_class, len(request.prompt)) for request in draw(50)}
    assert lengths == {("chat", 8), ("batch", 64)}


def test_equal_seeds_give_equal_mixtures() -> None:
    assert draw(20, seed=1) == draw(20, seed=1)
    assert draw(20, seed=1) != draw(20, seed=2)


def test_the_requests_of_a_class_do_not_depend_on_other_classes() -> None:
    alone = draw(3, chat=CLASSES["chat"])
    among = [request for request in draw(20) if request.request_class == "chat"]
    assert [request.prompt for request in alone] == [request.prompt for request in among[:3]]


def test_mixtures_do_not_nest() -> None:
    with pytest.raises(ValueError, match="mixed"):
        mixed(chat={"workload": {"kind": "mixed", "classes": CLASSES}})


def test_files_of_all_classes_are_checked(tmp_path: Path) -> None:
    part = mixed(chat={"workload": {"kind": "dataset", "path": str(tmp_path / "none.jsonl")}})
    with pytest.raises(InputError, match=r"none\.jsonl"):
        part.check()


def test_rows_left_out_of_any_file_are_caveats(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "hi"}\n{"prompt": null}')
    part = mixed(**CLASSES, data={"workload": {"kind": "dataset", "path": str(path)}})
    assert [caveat.kind for caveat in part.caveats()] == ["rows-left-out"]


def test_lengths_of_all_classes_are_known_before_prompts_are_made() -> None:
    assert list(islice(mixed(**CLASSES).sequence_lengths(2), 30)) == [
        len(request.prompt) + request.max_new_tokens for request in draw(30, seed=2)
    ]


def test_the_lengths_of_a_class_of_texts_are_unknown() -> None:
    known = mixed(chat={"workload": "prompts"}, batch=CLASSES["batch"]).sequence_lengths(0)
    assert set(islice(known, 30)) == {0, 96}


def test_the_constraints_of_all_classes_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "hi", "response_format": {"type": "json_object"}}')
    data = {"workload": {"kind": "dataset", "path": str(path)}}
    assert mixed(**CLASSES, data=data).constraints == {"json_object"}
    assert mixed(**CLASSES).constraints == set()


def test_the_models_of_a_class_are_drawn_from_its_own_stream() -> None:
    workload = {"kind": "synthetic", "prompt_tokens": 8}
    adapters = {"model": {"zipf": {"s": 1.0, "of": ["a", "b", "c"]}}, "workload": workload}
    alone = [request.model for request in draw(40, tenants=adapters)]
    among = [r.model for r in draw(200, tenants=adapters, base=CLASSES["chat"])
             if r.request_class == "tenants"]  # fmt: skip
    assert set(alone) == {"a", "b", "c"}
    assert alone == among[:40]


def test_only_classes_with_something_of_their_own_have_a_route() -> None:
    workload = mixed(**CLASSES, far={"url": "http://a", "workload": "prompts"})
    assert list(workload.routes) == ["far"]
    assert {request.model for request in draw(20)} == {None}
