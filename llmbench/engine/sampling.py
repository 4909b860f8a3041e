"""Seeded samplers that choose the next token from logits on the device."""

from __future__ import annotations

import torch
from torch import Tensor

from llmbench.scenario.schema import SamplingOptions


class Sampler:
    """Base class of samplers: ``draw`` runs before a step, ``choose`` inside it."""

    def restart(self) -> None:
        """Reset any random generator to its seed, so that earlier steps do not affect outputs."""

    def be_greedy(self) -> None:
        """Choose the most likely token in each step until `restart`; the default always does."""

    def draw(self) -> None:
        """Draw any random numbers that the next step needs."""

    def choose(self, logits: Tensor) -> Tensor:
        """Return one token id per row of logits [rows, vocabulary], as int64 [rows]."""
        raise NotImplementedError


class Greedy(Sampler):
    """Greedy sampling: the most likely token."""

    def choose(self, logits: Tensor) -> Tensor:
        """Return the token id with the largest logit in each row; the lowest id wins ties."""
        return logits.argmax(dim=-1)


class Random(Sampler):
    """Sampling from softmax(logits / temperature), or from its nucleus if ``top_p`` is below 1.

    The nucleus is the smallest set of tokens with a total probability of at least ``top_p``. A
    token is sampled as argmax(p / e) with exponential noise e, which samples from the probabilities
    p without a copy to the host (as in gpt-fast). The noise is drawn outside the step, since
    compiled graphs accept no random generator.
    """

    def __init__(
        self,
        temperature: float,
        top_p: float = 1.0,
        *,
        rows: int,
        vocabulary: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self._temperature = temperature
        self._top_p = top_p
        self._noise = torch.ones(rows, vocabulary, device=device, dtype=torch.float32)
        self._seed = seed
        self._generator = torch.Generator(device).manual_seed(seed)
        self._is_greedy = False

    def restart(self) -> None:
        """Reset the random generator to its seed, and sample."""
        self._is_greedy = False
        self._generator.manual_seed(self._seed)

    def be_greedy(self) -> None:
        """Choose the most likely token in each step: equal noise changes no order."""
        self._is_greedy = True
        self._noise.fill_(1.0)

    def draw(self) -> None:
        """Draw the exponential noise for the next step, unless it is to be greedy."""
        if not self._is_greedy:
            self._noise.exponential_(generator=self._generator)

    def choose(self, logits: Tensor) -> Tensor:
        """Sample one token id per row of logits."""
        probabilities = torch.softmax(logits.float() / self._temperature, dim=-1)
        if self._top_p == 1:
            return self._drawn(probabilities).squeeze(-1)
        ordered, order = probabilities.sort(dim=-1, descending=True)
        before = ordered.cumsum(dim=-1) - ordered
        kept = torch.where(before < self._top_p, ordered, 0.0)
        return order.gather(-1, self._drawn(kept)).squeeze(-1)

    def _drawn(self, probabilities: Tensor) -> Tensor:
        return (probabilities / self._noise[: len(probabilities)]).argmax(dim=-1, keepdim=True)


def sampler_of(
    options: SamplingOptions, *, rows: int, vocabulary: int, device: torch.device, seed: int
) -> Sampler:
    """Return the sampler for a scenario's temperature and top_p."""
    if options.temperature == 0:
        return Greedy()
    return Random(
        options.temperature,
        options.top_p,
        rows=rows,
        vocabulary=vocabulary,
        device=device,
        seed=seed,
    )
