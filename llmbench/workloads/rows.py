"""Recorded prompts in the rows of files: conversations, texts and lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from llmbench.errors import printable
from llmbench.runs.request import Message
from llmbench.runs.tables import LeftOutError, Row

CONVERSATIONS = ("conversations", "messages", "conversation")  # ShareGPT, OpenAI, LMSYS
ROLES = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bing", "bard", "model", "bot", "function_call"),
    "tool": ("tool", "function", "observation"),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
QUESTIONS = ("user", "tool")  # the roles whose messages are answered
TEXT_PARTS = ("text", "input_text", "output_text")
FIELDS = ("tool_calls", "tool_call_id", "name")
MAX_TOKENS = 10_000_000
MAX_NAME = 40  # characters of a role or a type in a message


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """The messages of a prompt, with the recorded answer if there is one."""

    messages: tuple[Message, ...]
    answer: str | None = None

    @property
    def text(self) -> str:
        """The prompt as text."""
        return "".join(message.plain for message in self.messages)


def messages_in(row: Row, columns: Sequence[str] = CONVERSATIONS) -> list[Any] | None:
    """Return the list in one of the columns; None if there is none."""
    values = (row.fields.get(name) for name in columns)
    return next((value for value in values if isinstance(value, list)), None)


def conversation(row: Row, columns: Sequence[str] = CONVERSATIONS) -> list[RecordedTurn]:
    """Return the turns of a conversation: the messages before each answer, and that answer.

    An answer that a tool's message follows has called this tool, and belongs to the prompt as the
    tool's message does. Answers before the first question are omitted.

    Raises LeftOutError if there is no question, or if a message is not text.
    """
    messages = list(_messages(messages_in(row, columns)))
    if not any(message.role == "user" for message in messages):
        raise LeftOutError("without a question")
    return list(_turns(messages))


def _turns(messages: list[Message]) -> Iterator[RecordedTurn]:
    prompt: list[Message] = []
    for message, following in zip_longest(messages, messages[1:]):
        is_answer = message.role == "assistant" and not (following and following.role == "tool")
        if not is_answer:
            prompt.append(message)
        elif _asks(prompt):
            yield RecordedTurn(tuple(prompt), message.plain)
            prompt = []
    if _asks(prompt):
        yield RecordedTurn(tuple(prompt))


def _asks(prompt: list[Message]) -> bool:
    return any(message.role in QUESTIONS for message in prompt)


def _messages(turns: list[Any] | None) -> Iterator[Message]:
    """Yield the messages of a conversation that are not blank, in OpenAI's roles."""
    return (message for message, _ in messages_with_fields(turns))


def messages_with_fields(turns: list[Any] | None) -> Iterator[tuple[Message, dict[str, Any]]]:
    """Yield the messages of a conversation that are not blank, each with its recorded fields.

    Raises LeftOutError if a message is not text.
    """
    if turns is None:
        raise LeftOutError("without a conversation")
    for turn in turns:
        if not isinstance(turn, dict):
            raise LeftOutError("with a conversation that is not a list of objects")
        message = _message(turn)
        if message.plain.strip():
            yield message, turn


def _message(turn: dict[str, Any]) -> Message:
    """Return a message with `role` and `content`, or ShareGPT's `from` and `value`."""
    name = turn.get("role") or turn.get("from")
    role = ROLE_OF.get(name.lower()) if isinstance(name, str) else None
    if role is None:
        raise LeftOutError(f"with a message of the role {printable(str(name), MAX_NAME)}")
    content = turn.get("value") if turn.get("content") is None else turn["content"]
    return Message(role, _content(content), {key: turn[key] for key in FIELDS if turn.get(key)})


def _content(content: Any) -> str:
    """Return the text of a message, whose content is text, a list of parts, or null."""
    if isinstance(content, list):
        return "".join(map(_part, content))
    if not isinstance(content, str | None):
        raise LeftOutError("with a message that is not text")
    return content or ""


def _part(part: Any) -> str:
    fields = part if isinstance(part, dict) else {"text": part}
    kind, text = fields.get("type", "text"), fields.get("text")
    if kind not in TEXT_PARTS:
        raise LeftOutError(f"with {printable(str(kind), MAX_NAME)} in a message")
    if not isinstance(text, str):
        raise LeftOutError("with a message that is not text")
    return text


# -- columns ---------------------------------------------------------------------------------------


def text_of(row: Row, column: str, content: str) -> str:
    """Return the text in a column; raise LeftOutError, which names its ``content``, without one."""
    value = row.fields.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise LeftOutError(f"without {content}")
    if not isinstance(value, str):
        raise LeftOutError(f"with {content} that is not text")
    return value


def name_of(row: Row, column: str, content: str) -> str:
    """Return the text, number or truth value in a column as text, as `text_of` does."""
    value = row.fields.get(column)
    return str(value) if isinstance(value, bool | int | float) else text_of(row, column, content)


def length_of(value: float) -> int:
    """Return a number of tokens; raise LeftOutError unless it is from 1 to MAX_TOKENS."""
    if not (1 <= value <= MAX_TOKENS and value == int(value)):
        raise LeftOutError(f"with an output length that is not from 1 to {MAX_TOKENS:,}")
    return int(value)
