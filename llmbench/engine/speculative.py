"""Speculative decoding: a draft model proposes tokens, the target model verifies them in one step.

The output equals that of the target alone (Leviathan et al., Fast Inference from Transformers via
Speculative Decoding, 2023, https://arxiv.org/abs/2211.17192; the greedy case).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmbench.engine.runner import TorchRunner
from llmbench.models.loading import TorchModel


@dataclass(frozen=True, kw_only=True)
class DraftedModel(TorchModel):
    """A torch model and its smaller draft model."""

    draft: TorchModel


class Draft(TorchRunner):
    """The runner of the draft model, which continues from the target's state."""

    @torch.inference_mode()
    def proposed(self, target: TorchRunner, slots: Sequence[int], count: int) -> Tensor:
        """Return draft tokens [rows, count] for the slots up to the highest in ``slots``."""
        self.tokens.copy_(target.tokens)
        self.positions.copy_(target.positions)
        self.lengths[:] = target.lengths
        rows = slots[-1] + 1
        steps = []
        for _ in range(count):
            self.decode(slots)
            steps.append(self.tokens[:rows].clone())
        self.decode(slots)  # caches the last token too, in case all are accepted
        return torch.stack(steps, dim=1)


class SpeculativeRunner(TorchRunner):
    """A greedy runner that verifies ``drafted`` tokens of a draft model in each decode step.

    A step returns the accepted tokens and the target model's next one. ``counts`` has
    ``drafted_tokens`` and ``accepted_tokens``.
    """

    def __init__(self, *parts: Any, draft: Draft, drafted: int) -> None:
        super().__init__(*parts)
        self.shows_logits = False  # verified tokens pass no sampler
        self.draft = draft
        self._drafted = drafted
        self._ahead = torch.arange(drafted + 1, device=self.tokens.device)

    @property
    def cache_nbytes(self) -> int:
        """The total size of both KV caches in bytes."""
        return super().cache_nbytes + self.draft.cache_nbytes

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        """Run prompts, fill their slots of both KV caches and return the first output tokens."""
        self.draft.prefill_batch(slots, prompts)
        return super().prefill_batch(slots, prompts)

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        """Run chunks of prompts behind the cached tokens of both models."""
        self.draft.prefill_chunks(slots, chunks, starts)
        return super().prefill_chunks(slots, chunks, starts)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        """Copy the first cached tokens of a slot to another one, for both models."""
        self.draft.copy_prefix(source, slot, length)
        super().copy_prefix(source, slot, length)

    def exchange(self, first: int, second: int, length: int) -> None:
        """Exchange the first cached tokens of two idle slots, for both models."""
        self.draft.exchange(first, second, length)
        super().exchange(first, second, length)

    @torch.inference_mode()
    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        """Run one decode step; return each slot's accepted draft tokens and the next token."""
        rows = slots[-1] + 1
        drafts = self.draft.proposed(self, slots, self._drafted)
        chosen = self._verified(rows, drafts, max(self.lengths[slot] for slot in slots))
        accepted = (drafts == chosen[:, :-1]).int().cumprod(dim=1).sum(dim=1)
        self.tokens[:rows] = chosen.gather(1, accepted[:, None])[:, 0]
        self._advance(self.positions[:rows], accepted + 1)
        return self._chunks(slots, chosen.tolist(), accepted.tolist())

    def _verified(self, rows: int, drafts: Tensor, longest: int) -> Tensor:
        """Return the target model's next token after the last token and after each draft token."""
        tokens = torch.cat([self.tokens[:rows, None], drafts], dim=1)
        positions = self.positions[:rows, None].repeat(1, self._drafted + 1)
        # positions past the end of the cache belong to no output
        self._advance(positions, self._ahead)
        length = self._read_length(longest + self._drafted + 1)
        return self._logits(tokens, positions, length).argmax(dim=-1)

    def _chunks(
        self, slots: Sequence[int], chosen: list[list[int]], accepted: list[int]
    ) -> list[list[int]]:
        for slot in slots:
            self.lengths[slot] += accepted[slot] + 1
        self.counts["drafted_tokens"] += self._drafted * len(slots)
        self.counts["accepted_tokens"] += sum(accepted[slot] for slot in slots)
        return [chosen[slot][: accepted[slot] + 1] for slot in slots]
