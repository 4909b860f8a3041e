"""Compare the outputs of a candidate and a reference, outside the timed window.

Both score the same held-out text token by token (teacher forcing), then complete the same
prompts greedily. docs/metrics.md has the formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from llmbench.engine.scoring import Scorer
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.run import QUALITY_SCHEMA, Answer

OnProgress = Callable[[int, int], None]


def cut_windows(
    prefix: Sequence[int], text: Sequence[int], window: int, most: int
) -> list[list[int]]:
    """Cut token ids into at most ``most`` windows of ``window`` tokens, each with the prefix."""
    body = window - len(prefix)
    starts = range(0, len(text) - body + 1, body)[:most]
    return [[*prefix, *text[start : start + body]] for start in starts]


def read_windows(tokenizer: Tokenizer, text: str, window: int, most: int) -> list[list[int]]:
    """Tokenize a text and cut it into windows, each preceded by the special tokens."""
    prefix = tokenizer.encode("")
    return cut_windows(prefix, tokenizer.encode(text)[len(prefix) :], window, most)


@dataclass(frozen=True)
class Examination:
    """The inputs of a comparison, as token ids: windows of text, and prompts.

    The second half of each window is scored; each prompt is completed by ``answer_tokens`` tokens.
    """

    windows: Sequence[Sequence[int]]
    prompts: Sequence[Sequence[int]]
    answer_tokens: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """The distinct prefill lengths in tokens, ascending."""
        halves = [len(window) // 2 for window in self.windows]
        return tuple(sorted({*halves, *map(len, self.prompts)}))

    @property
    def longest(self) -> int:
        """The length in tokens of the longest window or prompt, including its completion."""
        answered = [len(prompt) + self.answer_tokens for prompt in self.prompts]
        return max([len(window) for window in self.windows] + answered)

    def tokens(self, candidate: Scorer, reference: Scorer, on_progress: OnProgress) -> pa.Table:
        """Score the second halves with both models; return one row per token (QUALITY_SCHEMA)."""
        windows = torch.tensor(self.windows)
        rows = min(candidate.rows, reference.rows)
        steps: list[dict[str, Tensor]] = []
        half = windows.shape[1] // 2
        for group in windows.split(rows):
            pairs = zip(candidate.logits(group, half), reference.logits(group, half), strict=True)
            for position, (candidate_logits, reference_logits) in enumerate(pairs, start=half):
                steps.append(compare_logits(candidate_logits, reference_logits, group[:, position]))
            on_progress(len(steps), half * -(-len(windows) // rows))
        columns = {
            name: torch.cat([step[name] for step in steps]).cpu().numpy()
            for name in QUALITY_SCHEMA.names
        }
        return pa.table(columns).cast(QUALITY_SCHEMA)

    def answers(self, candidate: Scorer, reference: Scorer) -> tuple[Answer, ...]:
        """Compare the models' greedy completions of each prompt."""
        pairs = zip(self._answers_of(candidate), self._answers_of(reference), strict=True)
        return tuple(
            Answer(len(expected), _common_prefix(answer, expected)) for answer, expected in pairs
        )

    def _answers_of(self, scorer: Scorer) -> Iterator[list[int]]:
        for start in range(0, len(self.prompts), scorer.rows):
            group = self.prompts[start : start + scorer.rows]
            yield from scorer.answers(group, self.answer_tokens)


def _common_prefix(answer: Sequence[int], expected: Sequence[int]) -> int:
    """Return the number of equal tokens before two completions first differ."""
    pairs = enumerate(zip(answer, expected, strict=True))
    return next((index for index, (one, other) in pairs if one != other), len(expected))


def compare_logits(candidate: Tensor, reference: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compare the candidate's logits with the reference's, given the actual next tokens.

    Logits are [rows, vocabulary], tokens [rows]. Return [rows] of each: ``nll`` and
    ``reference_nll`` (negative log-likelihood of the target, nats), ``kl_divergence`` (KL(reference
    || candidate), nats), ``agrees`` (the same most likely token) and ``logit_squared_error`` (mean
    over the vocabulary). Computed in float32 on the reference's device.
    """
    reference = reference.float()
    candidate = candidate.to(reference)
    index = targets.to(reference.device)[:, None]
    log_candidate, log_reference = candidate.log_softmax(-1), reference.log_softmax(-1)
    divergence = (log_reference.exp() * (log_reference - log_candidate)).sum(-1)
    return {
        "nll": -log_candidate.gather(-1, index)[:, 0],
        "reference_nll": -log_reference.gather(-1, index)[:, 0],
        "kl_divergence": divergence.clamp(min=0),  # rounding can make it slightly negative
        "agrees": candidate.argmax(-1) == reference.argmax(-1),
        "logit_squared_error": (candidate - reference).square().mean(-1),
    }
