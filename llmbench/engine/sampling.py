"""Choose the next token from logits, on the device, seeded."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Greedy", "Sampler", "TopP"]


class Sampler(Protocol):
    """A way to choose tokens; ``draw`` runs before a step, ``choose`` inside a compiled one."""

    def draw(self) -> None:
        """Draw the randomness of the next step."""

    def choose(self, logits: Tensor) -> Tensor:
        """Choose one id a row; logits are [rows, vocabulary], ids are [rows], int64."""


class Greedy:
    """The most likely token."""

    def draw(self) -> None:
        """Draw nothing."""

    def choose(self, logits: Tensor) -> Tensor:
        """Choose the id with the largest logit, the lowest of equals."""
        return logits.argmax(dim=-1)


class TopP:
    """A draw from the smallest set of tokens that holds ``top_p`` of the probability.

    A token is drawn as argmax(p / e) with e exponential, which is a draw from p and needs no read
    by the host (gpt-fast). The noise is drawn outside the step, since compiled graphs take no
    generator.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float,
        *,
        rows: int,
        vocabulary: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._noise = torch.ones(rows, vocabulary, device=device, dtype=torch.float32)
        self._generator = torch.Generator(device).manual_seed(seed)

    def draw(self) -> None:
        """Fill the noise for the next step."""
        self._noise.exponential_(generator=self._generator)

    def choose(self, logits: Tensor) -> Tensor:
        """Draw one id a row."""
        chances = torch.softmax(logits.float() / self._temperature, dim=-1)
        ordered, order = chances.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = torch.where(before < self._top_p, ordered, 0.0)
        drawn = (kept / self._noise[: len(logits)]).argmax(dim=-1, keepdim=True)
        return order.gather(-1, drawn).squeeze(-1)
