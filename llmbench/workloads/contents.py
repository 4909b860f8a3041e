"""What prompts of given lengths are made of: passages of text or code, or random token ids."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import islice
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from llmbench.models import HELD_OUT
from llmbench.models.tokenizing import Tokenizer
from llmbench.scenario.rng import stream

Ids = NDArray[np.int64]
ContentKind = Literal["text", "code", "ids"]
ContentsOption = Annotated[
    ContentKind | None,
    Field(
        description="passages of English text or of code, or random token ids; if unset, text for"
        " endpoints and ids for local backends"
    ),
]


@dataclass(frozen=True, slots=True)
class Contents:
    """What fills prompts that are only lengths, unless the workload decides it.

    ``seed`` is that of the content streams; None: that of the workload.
    """

    kind: ContentKind = "ids"
    seed: int | None = None

    def filler(self, tokenizer: Tokenizer, seed: int, kind: ContentKind | None = None) -> Filler:
        """Return what fills the prompts of a workload, given its seed and its own kind, if any."""
        kind = kind or self.kind
        if kind == "ids":
            draw = partial(_random_ids, tokenizer.vocab_size)
        else:
            draw = partial(_passage, np.array(tokenizer.encode_more(corpus(kind))))
        return Filler(draw, seed if self.seed is None else self.seed)


def corpus(kind: Literal["text", "code"]) -> str:
    """Return the bundled text that passages are taken from."""
    path = HELD_OUT if kind == "text" else files(__package__) / "corpora" / "code.txt"
    return path.read_text("utf-8")


class Filler:
    """Fills prompts of given lengths with tokens; the prompts of a group share a prefix.

    ``draw`` draws a number of tokens from a random stream.
    """

    def __init__(self, draw: Callable[[np.random.Generator, int], Ids], seed: int) -> None:
        self._draw = draw
        self._seed = seed
        self._rng = stream(seed, "contents")
        self._prefixes: dict[int, tuple[np.random.Generator, Ids]] = {}

    def prompt(self, length: int, shared: int = 0, group: int = 0) -> tuple[int, ...]:
        """Draw a prompt whose first ``shared`` tokens are those of its group."""
        return (*self._prefix(group, shared), *self._draw(self._rng, length - shared).tolist())

    def block(self, name: int, length: int) -> list[int]:
        """Return the tokens of a block; blocks of equal names have equal tokens."""
        ids: list[int] = self._draw(stream(self._seed, f"block {name}"), length).tolist()
        return ids

    def blocks(self, names: Iterable[int], size: int, length: int) -> list[int]:
        """Return up to ``length`` tokens of blocks that have ``size`` tokens each."""
        needed = islice(names, -(-length // size))
        return [token for name in needed for token in self.block(name, size)][:length]

    def _prefix(self, group: int, length: int) -> list[int]:
        rng, prefix = self._prefixes.get(group) or (self._stream(group), np.empty(0, np.int64))
        prefix = np.append(prefix, self._draw(rng, max(0, length - len(prefix))))
        self._prefixes[group] = rng, prefix
        ids: list[int] = prefix[:length].tolist()
        return ids

    def _stream(self, group: int) -> np.random.Generator:
        return stream(self._seed, f"shared prefix {group}" if group else "shared prefix")


class LengthsOnly(Contents):
    """Prompts of zeros, for simulations in which only their lengths matter."""

    def filler(self, tokenizer: Tokenizer, seed: int, kind: ContentKind | None = None) -> Filler:
        """Return what fills prompts with zeros."""
        del tokenizer, kind
        return _Zeros(lambda _, length: np.zeros(length, dtype=np.int64), seed)


class _Zeros(Filler):
    def prompt(self, length: int, shared: int = 0, group: int = 0) -> tuple[int, ...]:
        del shared, group
        return (0,) * length

    def block(self, name: int, length: int) -> list[int]:
        del name
        return [0] * length


def _random_ids(vocabulary: int, rng: np.random.Generator, count: int) -> Ids:
    return rng.integers(0, vocabulary, count)


def _passage(tokens: Ids, rng: np.random.Generator, count: int) -> Ids:
    """Return consecutive tokens from a random place; at the end, the text begins again."""
    return np.take(tokens, rng.integers(len(tokens)) + np.arange(count), mode="wrap")
