"""Shortest requests first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from llmbench.engine.queues.ranked import Ranked
from llmbench.engine.sequence import Sequence

By = Literal["prompt", "output", "both"]

SIZES: dict[By, Callable[[Sequence], int]] = {
    "prompt": lambda sequence: len(sequence.request.prompt),
    "output": lambda sequence: sequence.request.max_new_tokens,
    "both": lambda sequence: sequence.most_tokens,
}


class Shortest(Ranked):
    """Sequences by their number of tokens: of the prompt, of the requested output, or of both.

    The output is as long as requested unless it may end early, so this is shortest job first where
    lengths are forced.
    """

    def __init__(self, by: By = "both") -> None:
        super().__init__(SIZES[by])
