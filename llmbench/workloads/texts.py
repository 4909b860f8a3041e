"""Text prompts: tokenized once, before the clock starts, and sent in a seeded order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Message, Request
from llmbench.scenario.rng import stream

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text with its token ids and its tokenization time in seconds."""

    id: str
    text: str
    ids: tuple[int, ...]
    tokenize_seconds: float
    messages: tuple[Message, ...] = ()

    @classmethod
    def of(
        cls, name: str, text: str, tokenizer: Tokenizer, messages: tuple[Message, ...] = ()
    ) -> Tokenized:
        """Tokenize a text, perhaps of several messages; ``name`` becomes the prompt id."""
        began = time.monotonic()
        ids = tuple(tokenizer.encode(text))
        return cls(name, text, ids, time.monotonic() - began, messages)

    def request(self, index: int, output_tokens: int, **fields: Any) -> Request:
        """Return a request with the text as prompt and ``output_tokens`` tokens to generate.

        ``fields`` are further ones of the request.
        """
        return Request(
            index,
            self.ids,
            output_tokens,
            text=self.text,
            messages=self.messages,
            prompt_id=self.id,
            tokenize_seconds=self.tokenize_seconds,
            **fields,
        )


def answer_tokens(answer: str | None, tokenizer: Tokenizer) -> int | None:
    """Return the length of a recorded answer in tokens; None if none was recorded."""
    return None if answer is None else max(1, len(tokenizer.encode(answer)))


def shuffled(items: Sequence[Item], seed: int) -> Iterator[Item]:
    """Yield all items endlessly, in a new seeded order in each cycle."""
    rng = stream(seed, "order of prompts")
    while True:
        yield from (items[index] for index in rng.permutation(len(items)))
