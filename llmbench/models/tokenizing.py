"""Tokenizers: conversion between text and token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llmbench.models.shapes import SHAPES
from llmbench.models.source import BUILTIN, loading_errors, locate
from llmbench.scenario.schema import ModelOptions


class Tokenizer(Protocol):
    """The interface of a tokenizer: text to token ids and back."""

    @property
    def vocab_size(self) -> int:
        """The number of token ids; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, including special tokens."""

    def encode_more(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another, without special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, omitting special tokens."""


@dataclass(frozen=True, slots=True)
class ByteTokenizer:
    """One id per UTF-8 byte, for untrained models."""

    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """Return the UTF-8 bytes of a text as token ids."""
        return list(text.encode())

    def encode_more(self, text: str) -> list[int]:
        """Return the UTF-8 bytes of a text as token ids."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the ids below 256, as UTF-8 bytes; other ids are omitted."""
        return bytes(i for i in ids if i < 256).decode(errors="replace")  # noqa: PLR2004 (a byte)


@dataclass(frozen=True, slots=True)
class TrainedTokenizer:
    """A tokenizer loaded by transformers."""

    tokenizer: Any

    @property
    def vocab_size(self) -> int:
        """The number of token ids."""
        return len(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, including special tokens."""
        # prompts longer than the context are rejected later, with details
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def encode_more(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another, without special tokens."""
        ids: list[int] = self.tokenizer(text, verbose=False, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, omitting special tokens."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def load(options: ModelOptions) -> Tokenizer:
    """Load the tokenizer of a model; raise InputError if it is unavailable."""
    source = locate(options.source)
    if source.kind == "random":
        return ByteTokenizer(SHAPES[source.where].config["vocab_size"])
    where, gguf = source.pretrained if source.kind != "served" else (str(BUILTIN["tiny"]), {})
    from transformers import AutoTokenizer  # noqa: PLC0415 (not needed for random shapes)

    with loading_errors(options.source):
        return TrainedTokenizer(
            AutoTokenizer.from_pretrained(
                where, trust_remote_code=options.trust_remote_code, **gguf
            )
        )
