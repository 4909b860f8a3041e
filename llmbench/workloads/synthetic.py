"""A workload of prompts and outputs of given lengths."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from llmbench import plugins
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.contents import ContentsOption
from llmbench.workloads.lengths import Length, Lengths


class Synthetic(Workload):
    """Prompts and outputs of given lengths, of bundled text or code, or of random token ids.

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
            default=1,
            ge=1,
            le=1_000_000,
            description="number of prompt groups, each with its own shared prefix",
        )
        contents: ContentsOption = None

    options: Options

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests with prompts of the drawn lengths, endlessly."""
        groups = stream(seed, "prefix groups")
        filler = self.contents.filler(tokenizer, seed, self.options.contents)
        for index, (length, output_tokens) in enumerate(self._lengths(seed)):
            shared = round(length * self.options.shared_prefix)
            group = int(groups.integers(self.options.prefix_groups))
            yield Request(index, filler.prompt(length, shared, group), output_tokens, shared=shared)

    def sequence_lengths(self, seed: int) -> Iterator[int]:
        """Yield the prompt and output tokens of each request, endlessly."""
        return map(sum, self._lengths(seed))

    def _lengths(self, seed: int) -> Iterator[tuple[int, int]]:
        prompts = self.options.prompt_tokens.stream(stream(seed, "prompt lengths"))
        outputs = self.options.output_tokens.stream(stream(seed, "output lengths"))
        return zip(prompts, outputs, strict=False)
