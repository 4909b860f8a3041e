"""Steps with an injected delay."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from llmbench.engine.injected_delay import DelayedRunner


class Clockwork:
    """A runner whose steps take so many seconds of a clock that the test moves."""

    def __init__(self, seconds: float) -> None:
        self.now = 0.0
        self.seconds = seconds

    def monotonic(self) -> float:
        self.now += 1e-6
        return self.now

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.now += self.seconds
        return slot + len(prompt)

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        self.now += self.seconds
        return [slot + len(prompt) for slot, prompt in zip(slots, prompts, strict=True)]

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        return sum(prompts)

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.now += self.seconds
        return [[slot] for slot in slots]


def test_a_step_takes_longer_by_the_share_and_returns_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runner = Clockwork(1.0)
    monkeypatch.setattr(time, "monotonic", runner.monotonic)
    slowed = DelayedRunner(runner, 0.1)
    assert slowed.prefill(2, [1, 2]) == 4
    assert runner.now == pytest.approx(1.1, abs=1e-4)
    assert slowed.decode([0, 3]) == [[0], [3]]
    assert runner.now == pytest.approx(2.2, abs=1e-4)
    assert slowed.prefill_batch([0, 3], [[1], [1, 2]]) == [1, 5]
    assert runner.now == pytest.approx(3.3, abs=1e-4)
    assert slowed.computed_tokens([1, 2]) == 3
