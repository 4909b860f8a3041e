"""Tokenizers: conversion between text and token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llmbench.models import tokenizer_files
from llmbench.models.shapes import SHAPES
from llmbench.models.source import BUILTIN, ModelSource, loading_errors, locate
from llmbench.scenario.schema import ModelOptions

if TYPE_CHECKING:
    import tokenizers


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
class FileTokenizer:
    """A tokenizer that the `tokenizers` library reads from a tokenizer.json."""

    tokenizer: tokenizers.Tokenizer

    @property
    def vocab_size(self) -> int:
        """The number of token ids."""
        return self.tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text, including special tokens."""
        return self.tokenizer.encode(text).ids

    def encode_more(self, text: str) -> list[int]:
        """Return the token ids of a text that continues another, without special tokens."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, omitting special tokens."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)


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
    """Load the tokenizer of a model; raise InputError if it is unavailable.

    transformers loads it where the files of the model do not determine it, see `tokenizer_files`.
    """
    return _loaded(options.source, trust_remote_code=options.trust_remote_code)


@lru_cache(maxsize=1)  # a run needs its tokenizer several times
def _loaded(source: str, *, trust_remote_code: bool) -> Tokenizer:
    located = locate(source)
    if located.kind == "random":
        return ByteTokenizer(SHAPES[located.where].config["vocab_size"])
    folder = _folder(located)
    tokenizer = tokenizer_files.read(folder) if folder else None
    if tokenizer is not None:
        return FileTokenizer(tokenizer)
    return _by_transformers(source, trust_remote_code=trust_remote_code)


def _folder(source: ModelSource) -> Path | None:
    """Return the folder with the files of a tokenizer, None if there is none, as for GGUF files."""
    if source.kind == "served":
        return BUILTIN["tiny"]
    if source.kind == "folder":
        return Path(source.where)
    return _downloaded(source.where) if source.kind == "hub" else None


def _downloaded(name: str) -> Path | None:
    """Download the files of a tokenizer from the hub; None if it fails: transformers says why."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow to import)

    try:
        return Path(snapshot_download(name, allow_patterns=list(tokenizer_files.FILES)))
    except (OSError, ValueError):
        return None


def load_trained(options: ModelOptions) -> TrainedTokenizer:
    """Load the tokenizer of a trained model with transformers, which can also save it."""
    return _by_transformers(options.source, trust_remote_code=options.trust_remote_code)


def _by_transformers(source: str, *, trust_remote_code: bool) -> TrainedTokenizer:
    where, gguf = locate(source).pretrained
    from transformers import AutoTokenizer  # noqa: PLC0415 (imports torch; rarely needed)

    with loading_errors(source):
        return TrainedTokenizer(
            AutoTokenizer.from_pretrained(where, trust_remote_code=trust_remote_code, **gguf)
        )
