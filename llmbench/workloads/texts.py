"""Prompts that are texts: tokenized once, before the clock starts, and sent in a seeded order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Tokenizer

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text with its token ids, and how long it took to have them."""

    id: str
    text: str
    ids: tuple[int, ...]
    tokenize_seconds: float

    @classmethod
    def of(cls, name: str, text: str, tokenizer: Tokenizer) -> Tokenized:
        """Tokenize a text."""
        began = time.monotonic()
        ids = tuple(tokenizer.encode(text))
        return cls(name, text, ids, time.monotonic() - began)

    def request(self, number: int, output_tokens: int, request_class: str | None = None) -> Request:
        """Ask for an answer of that length to it."""
        return Request(
            number,
            self.ids,
            output_tokens,
            text=self.text,
            prompt_id=self.id,
            tokenize_seconds=self.tokenize_seconds,
            request_class=request_class,
        )


def answer_tokens(answer: str | None, tokenizer: Tokenizer) -> int | None:
    """Count the tokens of a recorded answer; None where none was recorded."""
    return None if answer is None else max(1, len(tokenizer.encode(answer)))


def shuffled(items: Sequence[Item], seed: int) -> Iterator[Item]:
    """Give the items in a seeded order, and when all have been given again in another one."""
    draws = stream(seed, "order of prompts")
    while True:
        yield from (items[index] for index in draws.permutation(len(items)))
