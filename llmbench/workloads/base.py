"""What every workload is: an endless, seeded stream of requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmbench import plugins
from llmbench.runs.request import Request


class Tokenizer(Protocol):
    """Text to token ids and back."""

    @property
    def vocab_size(self) -> int:
        """How many ids there are; every id is below it."""

    def encode(self, text: str) -> list[int]:
        """Turn text into token ids, special tokens included."""

    def encode_more(self, text: str) -> list[int]:
        """Turn text that follows other text into token ids: no special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """Turn token ids into text, special tokens left out."""


class Workload(plugins.Part):
    """A part that determines what is sent."""

    def requests(self, tokenizer: Tokenizer, seed: int) -> Iterator[Request]:
        """Yield requests without end, numbered from 0; the same seed gives the same ones."""
        raise NotImplementedError

    @property
    def classes(self) -> set[str]:
        """The classes of its requests; empty where they have none."""
        return set()

    def check(self) -> None:
        """Raise InputError when a file that the workload reads cannot be read."""

    def times(self) -> NDArray[np.float64] | None:
        """Return when each request came, in seconds, for a workload that was recorded."""
        return None


WORKLOADS = plugins.Kind("workload", Workload)
