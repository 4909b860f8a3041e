"""Seeded samplers that choose the next token from logits on the device."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from llmbench.scenario.schema import SamplingOptions


class Sampler(Protocol):
    """The interface of a sampler: ``draw`` runs before a step, ``choose`` inside it."""

    def restart(self) -> None:
        """Reset the random generator to its seed, so that the warm-up length has no effect."""

    def draw(self) -> None:
        """Draw the random numbers for the next step."""

    def choose(self, logits: Tensor) -> Tensor:
        """Return one token id per row of logits [rows, vocabulary], as int64 [rows]."""


class Greedy:
    """Greedy sampling: the most likely token."""

    def restart(self) -> None:
        """Do nothing."""

    def draw(self) -> None:
        """Do nothing."""

    def choose(self, logits: Tensor) -> Tensor:
        """Return the token id with the largest logit in each row; the lowest id wins ties."""
        return logits.argmax(dim=-1)


class Temperature:
    """Sampling from softmax(logits / temperature).

    A token is sampled as argmax(p / e) with exponential noise e, which samples from the
    probabilities p without a copy to the host (as in gpt-fast). The noise is drawn outside the
    step, since compiled graphs accept no random generator.
    """

    def __init__(
        self, temperature: float, *, rows: int, vocabulary: int, device: torch.device, seed: int
    ) -> None:
        self._temperature = temperature
        self._noise = torch.ones(rows, vocabulary, device=device, dtype=torch.float32)
        self._seed = seed
        self._generator = torch.Generator(device).manual_seed(seed)

    def restart(self) -> None:
        """Reset the random generator to its seed."""
        self._generator.manual_seed(self._seed)

    def draw(self) -> None:
        """Draw the exponential noise for the next step."""
        self._noise.exponential_(generator=self._generator)

    def choose(self, logits: Tensor) -> Tensor:
        """Sample one token id per row of logits."""
        return self._drawn(self._probabilities(logits)).squeeze(-1)

    def _probabilities(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits.float() / self._temperature, dim=-1)

    def _drawn(self, probabilities: Tensor) -> Tensor:
        return (probabilities / self._noise[: len(probabilities)]).argmax(dim=-1, keepdim=True)


class TopP(Temperature):
    """Sampling from the smallest set of tokens with a total probability of at least ``top_p``."""

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
        """Sample one token id per row of logits."""
        ordered, order = self._probabilities(logits).sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = torch.where(before < self._top_p, ordered, 0.0)
        return order.gather(-1, self._drawn(kept)).squeeze(-1)


def sampler_of(
    options: SamplingOptions, *, rows: int, vocabulary: int, device: torch.device, seed: int
) -> Sampler:
    """Return the sampler for a scenario's temperature and top_p."""
    if options.temperature == 0:
        return Greedy()
    if options.top_p == 1:
        return Temperature(
            options.temperature, rows=rows, vocabulary=vocabulary, device=device, seed=seed
        )
    return TopP(
        options.temperature,
        options.top_p,
        rows=rows,
        vocabulary=vocabulary,
        device=device,
        seed=seed,
    )
