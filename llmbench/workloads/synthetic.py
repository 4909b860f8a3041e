"""A workload of random token ids with given prompt and output lengths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.lengths import Length, Lengths


class Synthetic(Workload):
    """Random token ids with given prompt and output lengths, to measure speed without text.

    A fraction of each prompt (``shared_prefix``) can be shared by all prompts, like a system
    prompt, or within each of the ``prefix_groups``, like the documents of several tenants.
    """

    class Options(plugins.Options):
        """``{kind: synthetic, prompt_tokens: 128, output_tokens: {uniform: [16, 64]}}``."""

        prompt_tokens: Lengths = Field(
            default=Length(fixed=128), description="prompt length in tokens"
        )
        output_tokens: Lengths = Field(
            default=Length(fixed=32), description="output length in tokens"
        )
        shared_prefix: float = Field(
            default=0.0, ge=0, le=1, description="fraction of each prompt that is a shared prefix"
        )
        prefix_groups: int = Field(
            default=1, ge=1, description="number of prompt groups, each with its own shared prefix"
        )

    options: Options

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests with prompts of random token ids, endlessly."""
        prompt_lengths = self.options.prompt_tokens.stream(stream(seed, "prompt lengths"))
        output_lengths = self.options.output_tokens.stream(stream(seed, "output lengths"))
        groups = stream(seed, "prefix groups")
        ids = RandomIds(tokenizer.vocab_size, self.contents.seed_or(seed))
        for index, length, output_tokens in zip(
            count(), prompt_lengths, output_lengths, strict=False
        ):
            shared = round(length * self.options.shared_prefix)
            group = int(groups.integers(self.options.prefix_groups))
            yield Request(index, ids.prompt(length, shared, group), output_tokens, shared=shared)


class RandomIds:
    """Draws prompts of random token ids; the prompts of a group share a prefix."""

    def __init__(self, vocab_size: int, seed: int) -> None:
        self._vocab_size = vocab_size
        self._seed = seed
        self._rng = stream(seed, "contents")
        self._prefixes: dict[int, tuple[np.random.Generator, np.ndarray]] = {}

    def prompt(self, length: int, shared: int = 0, group: int = 0) -> tuple[int, ...]:
        """Draw a prompt whose first ``shared`` tokens are those of its group."""
        return (*self._prefix(group, shared), *self._draw(self._rng, length - shared).tolist())

    def _prefix(self, group: int, length: int) -> list[int]:
        rng, prefix = self._prefixes.get(group) or (self._stream(group), np.empty(0, np.int64))
        prefix = np.append(prefix, self._draw(rng, max(0, length - len(prefix))))
        self._prefixes[group] = rng, prefix
        ids: list[int] = prefix[:length].tolist()
        return ids

    def _stream(self, group: int) -> np.random.Generator:
        return stream(self._seed, f"shared prefix {group}" if group else "shared prefix")

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(0, self._vocab_size, count)
