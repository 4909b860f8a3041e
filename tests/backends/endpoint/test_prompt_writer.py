"""Prompts in the form in which a server receives them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbench import models
from llmbench.backends.endpoint.prompt_writer import PromptWriter, TokenCount, fitted
from llmbench.models.tokenizing import ByteTokenizer, Tokenizer
from llmbench.runs.request import Message, Request, Turn
from llmbench.scenario.schema import ModelOptions
from llmbench.workloads.contents import ContentKind, Contents

TOKENIZER = ByteTokenizer(256)
LETTERS = tuple(b"abcdefghijklmnopqrstuvwxyz")


def writer(seed: int | None = 0, **count: Any) -> PromptWriter:
    salts = None if seed is None else np.random.default_rng(seed)
    return PromptWriter(TOKENIZER, salts, TokenCount(**count))


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


def test_a_salt_comes_before_the_first_message() -> None:
    messages = (Message("system", "Be brief."), Message("user", "Why?"))
    text = "".join(message.plain for message in messages)
    written = writer().written(Request(0, tuple(text.encode()), 4, text=text, messages=messages))
    first, second = written.messages
    assert (first.role, first.content[8:], second) == ("system", " Be brief.", messages[1])
    assert written.whole_text == written.text


def test_only_the_first_turn_of_a_session_has_a_salt() -> None:
    turns = (Turn(tuple(b"more"), 4, 0.0),)
    written = writer().written(ids(turns=turns))
    assert [turn.text for turn in written.turns] == ["more"]


def test_the_tokens_of_the_template_are_part_of_the_length() -> None:
    written = writer(template=12).written(ids(40))
    assert len((written.text or "").encode()) == 40 - 12
    assert len(written.prompt) == 40


def test_text_for_another_tokenizer_has_about_its_length() -> None:
    written = writer(template=10, scale=0.25).written(ids(40))
    assert len((written.text or "").encode()) == (40 - 10) * 4


def test_a_server_that_takes_ids_gets_no_text() -> None:
    written = writer(takes_ids=True).written(ids())
    assert written.text is None
    assert len(written.prompt) == 40
    assert written.prompt[9:] == ids().prompt[9:]


def test_sessions_are_text_since_their_answers_are() -> None:
    turns = (Turn(tuple(b"more"), 4, 0.0),)
    assert writer(takes_ids=True).written(ids(turns=turns)).text


def test_only_a_prompt_made_to_a_length_has_one() -> None:
    assert writer().written(ids()).has_exact_length
    own = Request(0, tuple(b"Why?"), 4, text="Why?", prompt_id="why")
    assert not writer().written(own).has_exact_length


@pytest.mark.parametrize(
    ("probes", "count"),
    [
        ([(5, 13), (320, 328)], TokenCount(8)),
        ([(10, 18), (330, 338)], TokenCount(8)),
        ([(8, 12), (328, 172)], TokenCount(8, 0.5)),
        ([(5, 5), (320, 5)], TokenCount()),  # not a count
        ([(5, 5), (2000, 6)], TokenCount()),
        ([(5, 5), (2000, 90_000)], TokenCount()),
        ([(5, 13), (5, 13)], TokenCount()),
        ([(5, None), (320, None)], TokenCount()),
    ],
)
def test_two_prompts_show_how_a_server_counts(
    probes: list[tuple[int, int | None]], count: TokenCount
) -> None:
    assert TokenCount.of(probes) == count


@cache
def tiny() -> Tokenizer:
    return models.load_tokenizer(ModelOptions(source="builtin:tiny"))


KINDS: list[ContentKind] = ["text", "code", "ids"]


@settings(max_examples=40)
@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_a_text_of_any_contents_is_encoded_to_the_requested_length(
    kind: ContentKind, length: int, seed: int
) -> None:
    prompt = Contents(kind).filler(tiny(), seed).prompt(length)
    text = fitted(tiny(), "", prompt, length)
    assert len(tiny().encode_more(text)) == length
    assert text == text.rstrip()


@settings(max_examples=20)
@given(st.integers(20, 300), st.integers(-15, 200))
def test_a_text_can_be_cut_or_continued(length: int, more: int) -> None:
    prompt = Contents("text").filler(tiny(), length).prompt(length)
    text = fitted(tiny(), "salt ", prompt, length + more)
    assert text.startswith("salt")
    assert len(tiny().encode_more(text)) == length + more


def test_white_space_alone_is_no_prompt() -> None:
    text = fitted(TOKENIZER, "", tuple(b"      "), 6)
    assert (len(text), text.strip()) == (6, text)


def test_complete_prompts_of_a_session_have_the_same_salt() -> None:
    prompt = ids().prompt
    turns = (Turn((*prompt, 97, 98), 4, 0.0, is_fresh=True),)
    written = writer().written(ids(turns=turns))
    (later,) = written.turns
    assert later.prompt[:40] == written.prompt
    assert (later.text or "")[:9] == (written.text or "")[:9]


def test_complete_prompts_of_a_session_are_sent_as_ids() -> None:
    turns = (Turn(tuple(b"more" * 10), 4, 0.0, is_fresh=True),)
    written = writer(takes_ids=True).written(ids(turns=turns))
    assert [written.text, *(turn.text for turn in written.turns)] == [None, None]


def test_messages_of_a_complete_prompt_are_kept_after_the_salt() -> None:
    messages = (Message("system", "Be."), Message("user", "Why?"), Message("tool", "sun"))
    text = "".join(message.plain for message in messages)
    turn = Turn(tuple(text.encode()), 4, 0.0, text, messages, is_fresh=True)
    first = Request(0, tuple(b"Why?"), 4, text="Why?", turns=(turn,))
    written = writer().written(first)
    (later,) = written.turns
    assert later.messages[1:] == messages[1:]
    assert later.messages[0].content[:9] == (written.text or "")[:9]


def test_the_text_of_a_turn_that_continues_is_kept() -> None:
    turns = (Turn(tuple(b"more"), 4, 0.0, "more", (Message("user", "more"),)),)
    first = Request(0, tuple(b"Why?"), 4, text="Why?", turns=turns)
    assert writer().written(first).turns == turns
