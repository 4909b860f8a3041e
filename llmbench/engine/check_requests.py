"""The requests of a self-check: few, of different lengths, around the borders of a model."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llmbench.runs.request import Request

# prompt and answer in tokens; the first two are short and alike enough to share a prefill step, and
# the answer to 62 crosses a block of 64 tokens
LENGTHS = ((3, 12), (5, 9), (33, 3), (17, 8), (62, 6))
ALWAYS = 3  # requests that are sent however large the model
AROUND = (-2, 2)  # prompts end before and behind a border
BEHIND = 8  # tokens between the end of such a prompt and the end of its answer
LONGEST_ANSWER = 64
# of the prompts of a check: about a second on an H100, and seconds on a small CPU
FLOPS = {"cpu": 6e11, "cuda": 2e14}


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a backend serves: slots, the possible prompt lengths and the longest sequence.

    Lengths are in tokens; ``prompts`` is ascending.
    """

    slots: int
    prompts: Sequence[int]
    longest: int

    def prompt(self, length: int) -> int:
        """Return the longest possible prompt of at most ``length`` tokens, else the shortest."""
        return self.prompts[max(0, bisect_right(self.prompts, length) - 1)]


def plan(
    capacity: Capacity, vocabulary: int, borders: Iterable[int], affordable: float
) -> list[Request]:
    """Return the requests of a self-check, with random prompts, the first of which ends with id 0.

    That is often the padding, whose embedding may be 0, and normalizing 0 is where kernels differ.
    After the first three, requests are left out where the prompts of all would have more than
    ``affordable`` tokens.
    """
    rng = np.random.default_rng(0)
    requests: list[Request] = []
    for prompt, answer in [*_ragged(capacity), *_around(capacity, borders)]:
        total = prompt + sum(len(request.prompt) for request in requests)
        if len(requests) < ALWAYS or total <= affordable:
            ids = rng.integers(0, vocabulary, prompt).tolist()
            if not requests:
                ids[-1] = 0
            requests.append(Request(len(requests), tuple(ids), answer))
    return requests


def affordable_tokens(device: str, parameters: int) -> float:
    """Return how many tokens of prompts a check may run, at 2 FLOPs per parameter and token."""
    return FLOPS.get(device, FLOPS["cpu"]) / (2 * parameters)


def _ragged(capacity: Capacity) -> Iterator[tuple[int, int]]:
    """Yield lengths of prompts and answers that are cut to the capacity."""
    for wanted, answer in LENGTHS:
        prompt = capacity.prompt(min(wanted, capacity.longest - 2))
        yield prompt, max(1, min(answer, capacity.longest - prompt))


def _around(capacity: Capacity, borders: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield lengths of prompts and answers that cross the borders within the capacity."""
    for border in borders:
        for offset in AROUND:
            prompt = capacity.prompt(border + offset)
            end = min(border + offset + BEHIND, capacity.longest)
            if end > border and 1 < end - prompt <= LONGEST_ANSWER:
                yield prompt, end - prompt
