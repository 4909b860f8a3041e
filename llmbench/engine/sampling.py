"""Choose the next token from logits, on the device, seeded."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """A way to choose tokens; ``draw`` runs before a step, ``choose`` inside a compiled one."""

    def restart(self) -> None:
        """Go back to the seed, so that a warm-up of any length leaves no trace."""

    def draw(self) -> None:
        """Draw the randomness of the next step."""

    def choose(self, logits: Tensor) -> Tensor:
        """Choose one id a row; logits are [rows, vocabulary], ids are [rows], int64."""


class Greedy:
    """The most likely token."""

    def restart(self) -> None:
        """Need nothing."""

    def draw(self) -> None:
        """Draw nothing."""

    def choose(self, logits: Tensor) -> Tensor:
        """Choose the id with the largest logit, the lowest of equals."""
        return logits.argmax(dim=-1)


class Temperature:
    """A draw from softmax(logits / temperature).

    A token is drawn as argmax(p / e) with e exponential, which is a draw from p and needs no read
    by the host (gpt-fast). The noise is drawn outside the step, since compiled graphs take no
    generator.
    """

    def __init__(
        self, temperature: float, *, rows: int, vocabulary: int, device: torch.device, seed: int
    ) -> None:
        self._temperature = temperature
        self._noise = torch.ones(rows, vocabulary, device=device, dtype=torch.float32)
        self._seed = seed
        self._generator = torch.Generator(device).manual_seed(seed)

    def restart(self) -> None:
        """Go back to the seed."""
        self._generator.manual_seed(self._seed)

    def draw(self) -> None:
        """Fill the noise for the next step."""
        self._noise.exponential_(generator=self._generator)

    def choose(self, logits: Tensor) -> Tensor:
        """Draw one id a row."""
        return self._drawn(self._chances(logits)).squeeze(-1)

    def _chances(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits.float() / self._temperature, dim=-1)

    def _drawn(self, chances: Tensor) -> Tensor:
        return (chances / self._noise[: len(chances)]).argmax(dim=-1, keepdim=True)


class TopP(Temperature):
    """A draw from the smallest set of tokens that holds ``top_p`` of the probability."""

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
        super().__init__(temperature, rows=rows, vocabulary=vocabulary, device=device, seed=seed)
        self._top_p = top_p

    def choose(self, logits: Tensor) -> Tensor:
        """Draw one id a row."""
        ordered, order = self._chances(logits).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = torch.where(before < self._top_p, ordered, 0.0)
        return order.gather(-1, self._drawn(kept)).squeeze(-1)
