"""Random token ids, of which prompts can have a beginning in common."""

from __future__ import annotations

import numpy as np

from llmbench.scenario.rng import stream


class RandomIds:
    """Draws prompts of random token ids; those of one group begin alike."""

    def __init__(self, vocab_size: int, seed: int) -> None:
        self._vocab_size = vocab_size
        self._seed = seed
        self._own = stream(seed, "contents")
        self._prefixes: dict[int, tuple[np.random.Generator, np.ndarray]] = {}

    def prompt(self, length: int, shared: int = 0, group: int = 0) -> tuple[int, ...]:
        """Draw a prompt, of which the first ``shared`` tokens are those of its group."""
        return (*self._prefix(group, shared), *self._draw(self._own, length - shared).tolist())

    def _prefix(self, group: int, length: int) -> list[int]:
        draws, prefix = self._prefixes.get(group) or (self._stream(group), np.empty(0, np.int64))
        prefix = np.append(prefix, self._draw(draws, max(0, length - len(prefix))))
        self._prefixes[group] = draws, prefix
        ids: list[int] = prefix[:length].tolist()
        return ids

    def _stream(self, group: int) -> np.random.Generator:
        return stream(self._seed, f"shared prefix {group}" if group else "shared prefix")

    def _draw(self, draws: np.random.Generator, count: int) -> np.ndarray:
        return draws.integers(0, self._vocab_size, count)
