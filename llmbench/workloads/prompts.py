"""A workload of the bundled prompt sets, one per task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import count
from typing import Literal

from pydantic import Field

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.workloads.base import Workload
from llmbench.workloads.lengths import Length, Lengths
from llmbench.workloads.texts import Tokenized, shuffled

Task = Literal[
    "text-generation", "translation", "question-answering", "summarization", "summarization-several"
]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt of a bundled set; ``language`` is an ISO 639-1 code."""

    id: str
    language: str
    prompt: str


def read_prompts(task: Task) -> list[Prompt]:
    """Return the bundled prompts of a task, in file order."""
    text = (files("llmbench.workloads") / "prompt_sets" / f"{task}.jsonl").read_text("utf-8")
    return [Prompt(**json.loads(line)) for line in text.splitlines()]


class Prompts(Workload):
    """Prompts written for this project, for one of five tasks, in English and Chinese.

    A seed determines the order; after the last prompt, all are repeated in another order.
    """

    class Options(plugins.Options):
        """``{kind: prompts, task: question-answering, output_tokens: {uniform: [16, 64]}}``."""

        task: Task = Field(default="text-generation", description="bundled prompt set")
        language: Literal["en", "zh"] | None = Field(
            default=None, description="only prompts in this language"
        )
        output_tokens: Lengths = Field(
            default=Length(fixed=32), description="output length in tokens"
        )

    options: Options

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests with the chosen prompts endlessly, in seeded order."""
        lengths = self.options.output_tokens.stream(stream(seed, "output lengths"))
        texts = [Tokenized.of(p.id, p.prompt, tokenizer) for p in self._chosen()]
        for index, text, length in zip(count(), shuffled(texts, seed), lengths, strict=False):
            yield text.request(index, length)

    def _chosen(self) -> list[Prompt]:
        language = self.options.language
        chosen = [p for p in read_prompts(self.options.task) if language in (None, p.language)]
        if not chosen:
            raise InputError(
                f"task {self.options.task!r} has no prompts in {language!r}; choose another"
            )
        return chosen
