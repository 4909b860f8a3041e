"""Teacher forcing: run a model's steps on given texts and read the logits.

Scored steps use the same KV cache and kernels as the steps of a measured load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmbench.engine.engine import ModelRunner
from llmbench.engine.sampling import Sampler

FREE = -1


class ForcedSampler(Sampler):
    """A sampler that stores the logits and returns given tokens.

    ``given`` has one token id per row; a negative id stands for the most likely token.
    """

    def __init__(self, *, rows: int, vocabulary: int, device: torch.device) -> None:
        self.logits = torch.zeros(rows, vocabulary, device=device)
        self.given = torch.full((rows,), FREE, device=device)

    def choose(self, logits: Tensor) -> Tensor:
        """Store the logits; return the given token ids, and the most likely for negative ones."""
        rows = len(logits)
        self.logits[:rows] = logits
        given = self.given[:rows]
        return torch.where(given < 0, logits.argmax(dim=-1), given)


@dataclass(frozen=True, slots=True)
class Scorer:
    """A model runner with a forced sampler, which scores ``rows`` texts at a time.

    ``answering`` is the runner for greedy outputs; with a draft model, it differs from ``runner``.
    """

    runner: ModelRunner
    forced: ForcedSampler
    answering: ModelRunner

    @property
    def rows(self) -> int:
        """The number of texts per batch."""
        return len(self.forced.given)

    @property
    def device(self) -> torch.device:
        """The device of the logits."""
        return self.forced.logits.device

    @torch.inference_mode()
    def logits(self, windows: Tensor, prompt: int) -> Iterator[Tensor]:
        """Yield the logits [windows, vocabulary] of each token after the prompt, step by step.

        ``windows`` are token ids [windows, length]; the first ``prompt`` ids of each are its
        prompt. The next step overwrites the logits.
        """
        count, length = windows.shape
        yield torch.stack([self._prefilled(*row, prompt) for row in enumerate(windows.tolist())])
        for position in range(prompt + 1, length):
            self.forced.given[:count] = windows[:, position]
            self.runner.decode(range(count))
            yield self.forced.logits[:count]

    def _prefilled(self, slot: int, window: list[int], prompt: int) -> Tensor:
        self.forced.given[0] = window[prompt]
        self.runner.prefill(slot, window[:prompt])
        return self.forced.logits[0].clone()

    @torch.inference_mode()
    def answers(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[int]]:
        """Return the first ``tokens`` token ids of the greedy output for each prompt."""
        self.forced.given.fill_(FREE)
        answers = [[self.answering.prefill(slot, prompt)] for slot, prompt in enumerate(prompts)]
        while min(map(len, answers)) < tokens:
            chunks = self.answering.decode(range(len(answers)))
            for answer, chunk in zip(answers, chunks, strict=True):
                answer.extend(chunk)
        return [answer[:tokens] for answer in answers]
