"""Whether a backend still says what the model says, scored outside the timed window.

Candidate and reference are stepped through the same held-out text side by side, then each answers
the same prompts greedily. Formulas stand in docs/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmbench.runs.run import Answer

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor

    from llmbench.engine.scoring import Scorer
    from llmbench.models.tokenizing import Tokenizer

Progress = Callable[[int, int], None]


def cut_windows(
    prefix: Sequence[int], text: Sequence[int], window: int, most: int
) -> list[list[int]]:
    """Cut a text into windows of so many tokens, each begun with the tokenizer's prefix.

    Gives ``most`` windows, or as many as the text is long enough for.
    """
    body = window - len(prefix)
    starts = range(0, len(text) - body + 1, body)[:most]
    return [[*prefix, *text[start : start + body]] for start in starts]


def read_windows(tokenizer: Tokenizer, text: str, window: int, most: int) -> list[list[int]]:
    """Tokenize a text and cut it into windows, as ``cut_windows`` does."""
    prefix = tokenizer.encode("")
    return cut_windows(prefix, tokenizer.encode(text)[len(prefix) :], window, most)


@dataclass(frozen=True)
class Examination:
    """What a model is asked: windows of text, whose second halves are scored, and prompts.

    Each of the prompts gets an answer of ``answer_tokens``.
    """

    windows: Sequence[Sequence[int]]
    prompts: Sequence[Sequence[int]]
    answer_tokens: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Distinct lengths of what is prefilled, ascending."""
        halves = [len(window) // 2 for window in self.windows]
        return tuple(sorted({*halves, *map(len, self.prompts)}))

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        answered = [len(prompt) + self.answer_tokens for prompt in self.prompts]
        return max([len(window) for window in self.windows] + answered)

    def tokens(self, candidate: Scorer, reference: Scorer, progress: Progress) -> pa.Table:
        """Score every token of the second halves by both; a row each (run.QUALITY_SCHEMA)."""
        import torch  # noqa: PLC0415 (worker must know this package without it)

        from llmbench.quality.divergence import compared, table  # noqa: PLC0415 (imports torch)

        windows = torch.tensor(self.windows)
        rows = min(candidate.rows, reference.rows)
        scored, half = [], windows.shape[1] // 2
        for group in windows.split(rows):
            pairs = _side_by_side(group, half, candidate, reference)
            for place, (candidate_logits, reference_logits) in enumerate(pairs, start=half):
                scored.append(compared(candidate_logits, reference_logits, group[:, place]))
            progress(len(scored), half * -(-len(windows) // rows))
        return table(scored)

    def answers(self, candidate: Scorer, reference: Scorer) -> tuple[Answer, ...]:
        """Hold the greedy answers of both against each other."""
        pairs = zip(self._answered(candidate), self._answered(reference), strict=True)
        return tuple(Answer(len(expected), _alike(answer, expected)) for answer, expected in pairs)

    def _answered(self, scorer: Scorer) -> Iterator[list[int]]:
        for start in range(0, len(self.prompts), scorer.rows):
            group = self.prompts[start : start + scorer.rows]
            yield from scorer.answers(group, self.answer_tokens)


def _side_by_side(
    windows: Tensor, prompt: int, candidate: Scorer, reference: Scorer
) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(candidate.logits(windows, prompt), reference.logits(windows, prompt), strict=True)


def _alike(answer: Sequence[int], expected: Sequence[int]) -> int:
    """Count the tokens before the first that differs."""
    pairs = enumerate(zip(answer, expected, strict=True))
    return next((place for place, (one, other) in pairs if one != other), len(expected))
