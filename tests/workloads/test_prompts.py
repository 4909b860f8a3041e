"""The bundled prompt sets."""

from __future__ import annotations

from itertools import islice
from typing import Any, get_args

import pytest

from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.prompts import Prompts, Task, read_prompts

TASKS = get_args(Task)


def draw(count: int, seed: int = 0, **options: Any) -> list[Request]:
    workload = Prompts(Prompts.Options.model_validate(options))
    return list(islice(workload.requests(ByteTokenizer(256), seed), count))


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_at_least_32_different_prompts_in_english_and_chinese(task: Task) -> None:
    prompts = read_prompts(task)
    assert len({p.prompt for p in prompts}) == len({p.id for p in prompts}) == len(prompts) >= 32
    assert {p.language for p in prompts} == {"en", "zh"}


def test_a_request_has_the_tokens_of_its_prompt() -> None:
    texts = {p.id: p.prompt for p in read_prompts("translation")}
    for request in draw(40, task="translation"):
        assert request.prompt_id is not None
        assert ByteTokenizer(256).decode(request.prompt) == texts[request.prompt_id]


def test_a_request_keeps_the_text_of_its_prompt_for_backends_that_send_text() -> None:
    (request,) = draw(1)
    assert tuple(ByteTokenizer(256).encode(request.text or "")) == request.prompt


def test_each_prompt_is_used_once_before_any_is_used_again() -> None:
    count = len(read_prompts("text-generation"))
    first, second = draw(2 * count)[:count], draw(2 * count)[count:]
    assert {r.prompt_id for r in first} == {r.prompt_id for r in second}
    assert [r.prompt_id for r in first] != [r.prompt_id for r in second]


def test_equal_seeds_give_the_same_order() -> None:
    assert [r.prompt for r in draw(30, seed=1)] == [r.prompt for r in draw(30, seed=1)]
    assert [r.prompt for r in draw(30, seed=1)] != [r.prompt for r in draw(30, seed=2)]


def test_prompts_of_one_language_can_be_selected() -> None:
    chinese = {p.id for p in read_prompts("summarization") if p.language == "zh"}
    assert {r.prompt_id for r in draw(40, task="summarization", language="zh")} == chinese


def test_the_time_to_tokenize_is_recorded() -> None:
    assert all(r.tokenize_seconds is not None and r.tokenize_seconds >= 0 for r in draw(5))
