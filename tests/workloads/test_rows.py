"""Conversations in the forms of ShareGPT and OpenAI become turns with messages by role."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.runs.request import Message
from llmbench.runs.tables import LeftOutError, Row
from llmbench.workloads.rows import RecordedTurn, conversation, length_of

SYSTEM, WHY, TOO = Message("system", "Be brief."), Message("user", "Why?"), Message("user", "Too?")


def openai(*messages: tuple[Any, Any] | dict[str, Any]) -> list[dict[str, Any]]:
    return [
        message if isinstance(message, dict) else {"role": message[0], "content": message[1]}
        for message in messages
    ]


def turns(value: Any) -> list[RecordedTurn]:
    return conversation(Row("a:1", value))


def reason(value: Any) -> str:
    with pytest.raises(LeftOutError) as raised:
        turns(value)
    return str(raised.value)


CHAT = [("system", "Be brief."), ("user", "Why?"), ("assistant", "So."), ("user", "Too?")]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": openai(*CHAT)},
        {"conversation": openai(*CHAT)},
        {"conversations": openai(*CHAT)},
        {"conversations": [{"from": role, "value": text} for role, text in CHAT]},
        {
            "conversations": [
                {"from": role, "value": text}
                for role, (_, text) in zip(("system", "human", "gpt", "human"), CHAT, strict=True)
            ]
        },
        {"messages": [{**one, "from": None} for one in openai(*CHAT)]},
    ],
)
def test_a_system_message_belongs_to_the_first_prompt(value: Any) -> None:
    assert turns(value) == [RecordedTurn((SYSTEM, WHY), "So."), RecordedTurn((TOO,))]


def test_a_later_system_message_belongs_to_the_next_prompt() -> None:
    chat = openai(("user", "Why?"), ("assistant", "So."), ("system", "Be brief."), ("user", "Too?"))
    assert turns({"messages": chat})[1].messages == (SYSTEM, TOO)


def test_a_developer_message_is_one_of_the_system() -> None:
    chat = openai(("developer", "Be brief."), ("user", "Why?"))
    assert turns({"messages": chat}) == [RecordedTurn((SYSTEM, WHY))]


CALLS = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_a_tool_and_the_call_of_it_belong_to_the_prompt() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": CALLS}
    result = {"role": "tool", "content": "5", "tool_call_id": "c1"}
    chat = openai(("user", "Why?"), call, result, ("assistant", "Five."))
    (turn,) = turns({"messages": chat})
    assert turn.answer == "Five."
    assert [message.as_dict() for message in turn.messages] == [
        {"role": "user", "content": "Why?"},
        {**call, "content": ""},
        result,
    ]


def test_a_tool_in_the_form_of_sharegpt_belongs_to_the_prompt() -> None:
    said = [("human", "Why?"), ("function_call", "f()"), ("observation", "5"), ("gpt", "Five.")]
    (turn,) = turns({"conversations": [{"from": who, "value": what} for who, what in said]})
    assert [message.role for message in turn.messages] == ["user", "assistant", "tool"]
    assert (turn.text, turn.answer) == ("Why?f()5\n\n", "Five.")


def test_an_answer_that_only_calls_a_tool_is_its_call() -> None:
    chat = openai(("user", "Why?"), {"role": "assistant", "content": None, "tool_calls": CALLS})
    (turn,) = turns({"messages": chat})
    assert str(turn.answer).startswith('[{"id": "c1"')


def test_the_text_of_a_prompt_has_a_blank_line_after_the_system_message() -> None:
    assert turns({"messages": openai(*CHAT)})[0].text == "Be brief.\n\nWhy?"


def test_answers_before_the_first_question_are_omitted() -> None:
    chat = openai(("system", "Be brief."), ("assistant", "Hello."), ("user", "Why?"))
    assert turns({"messages": chat}) == [RecordedTurn((SYSTEM, WHY))]


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "W"}, {"type": "input_text", "text": "hy"}, "?"]
    assert turns({"messages": openai(("user", parts))}) == [RecordedTurn((WHY,))]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"conversations": []}, "without a question"),
        ({"conversations": None}, "without a conversation"),
        ({"prompt": "Why?"}, "without a conversation"),
        ("Why?", "without a conversation"),
        ({"messages": ["Why?"]}, "with a conversation that is not a list of objects"),
        ({"messages": openai(("assistant", "So."))}, "without a question"),
        ({"messages": openai(("user", " "))}, "without a question"),
        ({"messages": openai(("user", None))}, "without a question"),
        ({"messages": openai(("user", 5))}, "with a message that is not text"),
        ({"messages": openai(("user", [{"type": "text"}]))}, "with a message that is not text"),
        (
            {"messages": openai(("user", [{"type": "text", "text": "x"}, {"type": "image_url"}]))},
            "with image_url in a message",
        ),
        ({"messages": openai(("critic\x1b", "Bad."))}, r"with a message of the role critic\x1b"),
        ({"messages": openai((None, "Bad."))}, "with a message of the role None"),
        ({"messages": [{}]}, "with a message of the role None"),
    ],
)
def test_a_conversation_that_cannot_be_sent_has_a_reason(value: Any, said: str) -> None:
    assert reason(value) == said


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf"), 10**8, 10**400])
def test_a_length_is_a_whole_number_within_bounds(value: float) -> None:
    assert length_of(100.0) == 100
    with pytest.raises(LeftOutError, match="not from 1 to 10,000,000"):
        length_of(value)
