"""Random tokens of given lengths."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from pydantic import Field

from llmbench import plugins
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Tokenizer, Workload
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.random_ids import RandomIds


class Synthetic(Workload):
    """Random token ids with given prompt and output lengths, for speed without text.

    A share of each prompt (``shared_prefix``) can be the same for all, as a system prompt is, or
    for all of a group, as the documents of several tenants are; the group is drawn.
    """

    class Options(plugins.Options):
        """``{kind: synthetic, prompt_tokens: 128, output_tokens: {uniform: [16, 64]}}``."""

        prompt_tokens: Lengths = Field(default=Length(fixed=128), description="of each prompt")
        output_tokens: Lengths = Field(default=Length(fixed=32), description="of each answer")
        shared_prefix: float = Field(default=0.0, ge=0, le=1, description="share of each prompt")
        prefix_groups: int = Field(default=1, ge=1, description="how many such prefixes there are")

    options: Options

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests of random ids, without end."""
        prompt_lengths = self.options.prompt_tokens.stream(stream(seed, "prompt lengths"))
        output_lengths = self.options.output_tokens.stream(stream(seed, "output lengths"))
        groups = stream(seed, "prefix groups")
        ids = RandomIds(tokenizer.vocab_size, seed)
        for number, length, outputs in zip(count(), prompt_lengths, output_lengths, strict=False):
            shared = round(length * self.options.shared_prefix)
            group = int(groups.integers(self.options.prefix_groups))
            yield Request(number, ids.prompt(length, shared, group), outputs)
