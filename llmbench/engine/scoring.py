"""Step a runner through given texts and look at its logits.

What is scored are the very steps that serve a load, cache and kernels included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from llmbench.engine.engine import ModelRunner

FREE = -1


class Forced:
    """A sampler that keeps the logits and gives back the tokens that it was handed.

    ``given`` has one id a row; where it is negative the most likely token is chosen.
    """

    def __init__(self, *, rows: int, vocabulary: int, device: torch.device) -> None:
        self.logits = torch.zeros(rows, vocabulary, device=device)
        self.given = torch.full((rows,), FREE, device=device)

    def restart(self) -> None:
        """Need nothing."""

    def draw(self) -> None:
        """Draw nothing."""

    def choose(self, logits: Tensor) -> Tensor:
        """Keep the logits and hand out what is given."""
        rows = len(logits)
        self.logits[:rows] = logits
        given = self.given[:rows]
        return torch.where(given < 0, logits.argmax(dim=-1), given)


@dataclass(frozen=True, slots=True)
class Scorer:
    """A runner with a forced sampler, for as many texts at a time as it has ``rows``.

    ``answering`` gives the greedy answers: the same runner, unless answers come about otherwise.
    """

    runner: ModelRunner
    forced: Forced
    answering: ModelRunner

    @property
    def rows(self) -> int:
        """Texts that it takes at a time."""
        return len(self.forced.given)

    @property
    def device(self) -> torch.device:
        """Where its logits are."""
        return self.forced.logits.device

    @torch.inference_mode()
    def logits(self, windows: Tensor, prompt: int) -> Iterator[Tensor]:
        """Give the logits [windows, vocabulary] of each token after the prompt, a step at a time.

        ``windows`` are ids [windows, length], their first ``prompt`` ids the prompt. What is given
        is overwritten by the next step.
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
        """Give the greedy answers to prompts, so many tokens each."""
        self.forced.given.fill_(FREE)
        answers = [[self.answering.prefill(slot, prompt)] for slot, prompt in enumerate(prompts)]
        while min(map(len, answers)) < tokens:
            chunks = self.answering.decode(range(len(answers)))
            for answer, chunk in zip(answers, chunks, strict=True):
                answer.extend(chunk)
        return [answer[:tokens] for answer in answers]
