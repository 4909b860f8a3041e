"""Random tokens of given lengths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.request import Request
from llmbench.streams import stream
from llmbench.workloads.base import Tokenizer
from llmbench.workloads.lengths import Length, Lengths

__all__ = ["Synthetic"]


class Synthetic:
    """Random token ids with given prompt and output lengths, for speed without text.

    A share of each prompt (``shared_prefix``) can be the same for all, as a system prompt is.
    """

    class Options(plugins.Options):
        """``{kind: synthetic, prompt_tokens: 128, output_tokens: {uniform: [16, 64]}}``."""

        prompt_tokens: Lengths = Length(fixed=128)
        output_tokens: Lengths = Length(fixed=32)
        shared_prefix: float = Field(default=0.0, ge=0, le=1, description="share of each prompt")

    def __init__(self, options: Options) -> None:
        self.options = options

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests of random ids, without end."""
        prompt_lengths = self.options.prompt_tokens.stream(stream(seed, "prompt lengths"))
        output_lengths = self.options.output_tokens.stream(stream(seed, "output lengths"))
        ids = _Ids(tokenizer.vocab_size, seed)
        for number, length, outputs in zip(count(), prompt_lengths, output_lengths, strict=False):
            shared = round(length * self.options.shared_prefix)
            yield Request(number, ids.prompt(length, shared), outputs)


class _Ids:
    """Random token ids, of which a prefix of any length is the same for all prompts."""

    def __init__(self, vocab_size: int, seed: int) -> None:
        self._vocab_size = vocab_size
        self._own = stream(seed, "contents")
        self._prefix_draws = stream(seed, "shared prefix")
        self._prefix = np.empty(0, dtype=np.int64)

    def prompt(self, length: int, shared: int) -> tuple[int, ...]:
        return (*self._shared(shared), *self._draw(self._own, length - shared).tolist())

    def _shared(self, length: int) -> list[int]:
        missing = length - len(self._prefix)
        if missing > 0:
            self._prefix = np.append(self._prefix, self._draw(self._prefix_draws, missing))
        ids: list[int] = self._prefix[:length].tolist()
        return ids

    def _draw(self, draws: np.random.Generator, count: int) -> np.ndarray:
        return draws.integers(0, self._vocab_size, count)
