"""What prompts of given lengths are made of."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
from pydantic import ValidationError

from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request
from llmbench.workloads.contents import ContentKind, Contents, corpus
from llmbench.workloads.mixed import Mixed
from llmbench.workloads.sessions import Sessions
from llmbench.workloads.synthetic import Synthetic

TOKENIZER = ByteTokenizer(256)


def drawn(contents: Contents, count: int = 20, seed: int = 0, **options: Any) -> list[Request]:
    workload = Synthetic(Synthetic.Options.model_validate({"prompt_tokens": 60, **options}))
    workload.contents = contents
    return list(islice(workload.requests(TOKENIZER, seed), count))


@pytest.mark.parametrize("kind", ["text", "code"])
def test_prompts_are_passages_of_the_bundled_text(kind: Any) -> None:
    whole = corpus(kind).encode()
    for request in drawn(Contents(kind)):
        assert len(request.prompt) == 60
        assert bytes(request.prompt) in whole + whole[:60]


def test_passages_begin_at_random_places() -> None:
    assert len({request.prompt[:8] for request in drawn(Contents("text"))}) == 20


def test_a_prompt_can_be_longer_than_the_bundled_text() -> None:
    length = 3 * len(corpus("text").encode())
    (request,) = drawn(Contents("text"), 1, prompt_tokens=length)
    assert len(request.prompt) == length


def test_the_workload_decides_what_its_prompts_are_made_of() -> None:
    options = Synthetic.Options.model_validate({"prompt_tokens": 60, "contents": "ids"})
    workload = Synthetic(options)
    workload.contents = Contents("text")
    assert next(workload.requests(TOKENIZER, 0)) == drawn(Contents("ids"), 1)[0]


@pytest.mark.parametrize("kind", ["text", "ids"])
def test_a_seed_of_its_own_changes_the_contents_and_nothing_else(kind: ContentKind) -> None:
    lengths: dict[str, Any] = {
        "prompt_tokens": {"uniform": [20, 60]},
        "output_tokens": {"uniform": [2, 9]},
    }
    one, other = drawn(Contents(kind), **lengths), drawn(Contents(kind, seed=7), **lengths)
    assert [list(r.lengths()) for r in one] == [list(r.lengths()) for r in other]
    assert not {r.prompt for r in one} & {r.prompt for r in other}


def test_a_shared_prefix_of_text_is_the_same_for_all() -> None:
    requests = drawn(Contents("text"), shared_prefix=0.5)
    assert len({request.prompt[:30] for request in requests}) == 1
    assert len({request.prompt[30:] for request in requests}) == 20
    assert {request.shared for request in requests} == {30}


def test_every_class_of_a_mixture_has_contents_of_its_own() -> None:
    classes = {name: {"workload": {"kind": "synthetic"}} for name in ("a", "b")}
    workload = Mixed(Mixed.Options.model_validate({"classes": classes}))
    workload.contents = Contents("ids", seed=7)
    requests = list(islice(workload.requests(TOKENIZER, 0), 20))
    assert len({request.prompt for request in requests}) == 20
    workload.contents = Contents("ids", seed=8)
    again = list(islice(workload.requests(TOKENIZER, 0), 20))
    assert [r.request_class for r in requests] == [r.request_class for r in again]
    assert requests != again


def test_recorded_conversations_have_contents_already() -> None:
    with pytest.raises(ValidationError, match=r"remove .* and `contents`"):
        Sessions.Options.model_validate({"path": "a.json", "contents": "code"})
