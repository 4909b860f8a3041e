"""A runner made slower on purpose, to see whether somebody notices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from llmbench.engine.engine import ModelRunner


@dataclass(frozen=True, slots=True)
class DelayedRunner:
    """A model runner each of whose steps takes longer than the one within by a share of its time.

    It waits with the processor busy: a sleep of microseconds would take many more.
    """

    runner: ModelRunner
    share: float

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        """Fill a slot's cache, slowly."""
        began = time.monotonic()
        token = self.runner.prefill(slot, prompt)
        self._linger(began)
        return token

    def decode(self, slots: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return the next tokens of these slots, slowly."""
        began = time.monotonic()
        tokens = self.runner.decode(slots)
        self._linger(began)
        return tokens

    def _linger(self, began: float) -> None:
        now = time.monotonic()
        end = now + self.share * (now - began)
        while time.monotonic() < end:
            pass
