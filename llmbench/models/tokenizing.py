"""Text to token ids and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llmbench.models.failures import explained
from llmbench.models.shapes import SHAPES
from llmbench.models.source import BUILTIN, locate
from llmbench.scenario.schema import ModelOptions


class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids, special tokens included."""

    def encode_more(self, text: str) -> list[int]:
        """Turn text that follows other text into token ids: no special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, special tokens left out."""


@dataclass(frozen=True, slots=True)
class ByteTokenizer:
    """One id for each byte of the text's UTF-8, for models that were never trained."""

    vocab_size: int

    def encode(self, text: str) -> list[int]:
        """Give the bytes."""
        return list(text.encode())

    def encode_more(self, text: str) -> list[int]:
        """Give the bytes."""
        return self.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of those ids that are bytes."""
        return bytes(i for i in ids if i < 256).decode(errors="replace")  # noqa: PLR2004 (a byte)


@dataclass(frozen=True, slots=True)
class TrainedTokenizer:
    """A tokenizer of transformers."""

    tokenizer: Any

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return len(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids, special tokens included."""
        # a prompt longer than the context is refused later, with the numbers
        ids: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return ids

    def encode_more(self, text: str) -> list[int]:
        """Turn text that follows other text into token ids: no special tokens."""
        ids: list[int] = self.tokenizer(text, verbose=False, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, special tokens left out."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def load(options: ModelOptions) -> Tokenizer:
    """Load the tokenizer of a model; raises InputError when it cannot be had."""
    origin = locate(options.source)
    if origin.kind == "random":
        return ByteTokenizer(SHAPES[origin.where].config["vocab_size"])
    where = str(BUILTIN["tiny"]) if origin.kind == "served" else origin.where
    from transformers import AutoTokenizer  # noqa: PLC0415 (not needed for random shapes)

    with explained(options.source):
        return TrainedTokenizer(
            AutoTokenizer.from_pretrained(
                *_pretrained(origin.kind, where),
                trust_remote_code=options.trust_remote_code,
                **({"gguf_file": Path(where).name} if origin.kind == "gguf" else {}),
            )
        )


def _pretrained(kind: str, where: str) -> tuple[str]:
    return (str(Path(where).parent),) if kind == "gguf" else (where,)
