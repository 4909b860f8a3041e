"""The terms of step times: what a step costs at least, per sequence and per token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llmbench.simulation.steps import Steps

KNOTS = (2, 4, 8, 16, 32, 64, 128)  # of the number of rows
PREFILL = {
    "per step": "s", "per prompt": "s", "per token": "s", "per pair of tokens": "s",
}  # fmt: skip
DECODE = {
    "per step": "s",
    "per row": "s",
    **{f"per row up to {knot}": "s" for knot in KNOTS},
    **{f"per row beyond {knot}": "s" for knot in KNOTS},
    "per cached token": "s",
}


def pairs(tokens: float, context: float, prompts: float) -> float:
    """Return the pairs of a token and one before it, for ``prompts`` chunks of equal lengths.

    n (c + n / 2) / k, where n tokens and c cached tokens are those of all k chunks together.
    """
    return tokens * (context + tokens / 2) / prompts


def prefill_value(coefficients: Sequence[float], tokens: int, context: int, prompts: int) -> float:
    """Return the time of a prefill step."""
    per_step, per_prompt, per_token, per_pair = coefficients
    attended = pairs(tokens, context, prompts)
    return per_step + per_prompt * prompts + per_token * tokens + per_pair * attended


def decode_line(coefficients: Sequence[float], rows: int) -> tuple[float, float]:
    """Return the time of a decode step without cached tokens, and the time per cached token."""
    terms = (1.0, rows, *_up_to(rows), *_beyond(rows))
    begin = sum(c * term for c, term in zip(coefficients, terms, strict=False))
    return begin, coefficients[-1]


def _up_to(rows: int) -> list[int]:
    return [min(rows, knot) for knot in KNOTS]


def _beyond(rows: int) -> list[int]:
    return [max(rows - knot, 0) for knot in KNOTS]


def terms(steps: Steps) -> NDArray[np.float64]:
    """Return the terms of steps, those of prefill and then those of decode, [steps, terms]."""
    prompts = np.maximum(steps.prompts, 1)
    attended = steps.tokens * (steps.context + steps.tokens / 2) / prompts
    rows = steps.rows[:, None]
    knots = np.array(KNOTS)
    return np.column_stack([
        steps.prefills, steps.prompts, steps.tokens, attended,
        steps.rows > 0, rows, np.minimum(rows, knots), np.maximum(rows - knots, 0), steps.depth,
    ]).astype(np.float64)  # fmt: skip
