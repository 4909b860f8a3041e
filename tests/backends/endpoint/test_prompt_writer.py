"""Prompts in the form in which a server receives them."""

from __future__ import annotations

import numpy as np

from llmbench.backends.endpoint.prompt_writer import PromptWriter
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.runs.request import Request, Turn

TOKENIZER = ByteTokenizer(256)
LETTERS = tuple(b"abcdefghijklmnopqrstuvwxyz")


def writer(seed: int | None = 0) -> PromptWriter:
    return PromptWriter(TOKENIZER, None if seed is None else np.random.default_rng(seed))


def ids(length: int = 40, **fields: object) -> Request:
    return Request(0, LETTERS[:1] * length, 4, **fields)  # type: ignore[arg-type]


def test_without_salts_a_prompt_is_its_text() -> None:
    assert writer(None).written(ids(3)).text == "aaa"
    assert writer(None).written(ids(3)).prompt == ids(3).prompt


def test_a_salt_takes_the_place_of_the_first_tokens() -> None:
    written = writer().written(ids())
    assert len(written.prompt) == 40
    assert written.text == TOKENIZER.decode(written.prompt)
    assert written.text.endswith(" " + "a" * 31)


def test_a_prompt_shorter_than_a_salt_keeps_its_length() -> None:
    assert len(writer().written(ids(3)).prompt) == 3


def test_every_prompt_has_its_own_salt() -> None:
    one = writer()
    assert len({(one.written(ids()).text or "")[:8] for _ in range(50)}) == 50


def test_no_other_run_has_the_same_salts() -> None:
    assert writer(1).written(ids()).text != writer(2).written(ids()).text


def test_prompts_that_share_a_prefix_have_the_salt_of_the_run() -> None:
    one = writer()
    assert len({one.written(ids(shared=12)).text for _ in range(50)}) == 1


def test_a_text_of_its_own_keeps_all_its_words() -> None:
    request = Request(0, tuple(b"Why?"), 4, text="Why?", prompt_id="why")
    written = writer().written(request)
    assert (written.text or "")[8:] == " Why?"
    assert written.prompt == tuple((written.text or "").encode())


def test_only_the_first_turn_of_a_session_has_a_salt() -> None:
    turns = (Turn(tuple(b"more"), 4, 0.0),)
    written = writer().written(ids(turns=turns))
    assert [turn.text for turn in written.turns] == ["more"]
