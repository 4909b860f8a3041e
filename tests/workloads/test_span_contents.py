"""The recorded prompts of spans become OpenAI's messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.runs.tables import LeftOutError
from llmbench.workloads.span_contents import INSTRUCTIONS, MESSAGES, prompt_of

WEATHER: list[dict[str, Any]] = [
    {"role": "user", "parts": [{"type": "text", "content": "Weather in Paris?"}]},
    {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "I need a tool."},
            {
                "type": "tool_call",
                "id": "call_1",
                "name": "weather",
                "arguments": {"city": "Paris"},
            },
        ],
    },
    {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "call_1", "response": "rainy, 57°F"}],
    },
]
SYSTEM = [{"type": "text", "content": "You are brief."}]


def as_dicts(**attributes: Any) -> list[dict[str, Any]]:
    keys = {"messages": MESSAGES, "system": INSTRUCTIONS}
    prompt = prompt_of({keys[name]: value for name, value in attributes.items()})
    return [message.as_dict() for message in prompt]


EXPECTED = [
    {"role": "system", "content": "You are brief."},
    {"role": "user", "content": "Weather in Paris?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "weather", "arguments": '{"city": "Paris"}'},
            }
        ],
    },
    {"role": "tool", "content": "rainy, 57°F", "tool_call_id": "call_1"},
]


def test_a_conversation_with_a_tool_has_the_form_of_the_api() -> None:
    assert as_dicts(messages=WEATHER, system=SYSTEM) == EXPECTED


def test_contents_may_be_json_texts() -> None:
    assert as_dicts(messages=json.dumps(WEATHER), system=json.dumps(SYSTEM)) == EXPECTED


def test_messages_without_parts_are_read_as_those_of_the_api() -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert as_dicts(messages=messages) == messages


def test_without_messages_there_is_no_prompt() -> None:
    assert prompt_of({}) == prompt_of({INSTRUCTIONS: SYSTEM}) == ()


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (json.dumps(WEATHER)[:-9], "with contents that are not whole"),
        ("none", "with contents that are not whole"),
        (7, "with contents that are not whole"),
        (["hi"], "with contents that are not whole"),
        ([{"role": "user", "parts": "hi"}], "with contents that are not whole"),
        ([{"role": "user", "parts": [{"type": "blob", "content": "aGk="}]}], "with blob in a mess"),
        ([{"role": "user", "parts": [{"type": "text", "content": 5}]}], "with text in a message"),
        ([{"role": "user", "parts": [None]}], "with None in a message"),
        ([{"role": "judge", "content": "hi"}], "with a message of the role judge"),
    ],
)
def test_what_cannot_be_used_has_its_reason(messages: Any, message: str) -> None:
    with pytest.raises(LeftOutError, match=message):
        prompt_of({MESSAGES: messages})


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["role", "parts", "type", "content", "name", "id", "response"]),
                inner
                | st.sampled_from(["text", "tool_call", "tool_call_response", "user", "tool"]),
            )
        ),
        max_leaves=12,
    )
)
def test_any_value_is_a_prompt_or_has_a_reason(value: Any) -> None:
    try:
        messages = prompt_of({MESSAGES: value})
    except LeftOutError:
        return
    assert all(isinstance(message.content, str) for message in messages)
