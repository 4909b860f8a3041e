"""The steps that a local engine took, read off the stamps of its tokens.

All tokens of a step have one stamp and every step gives a token, so the distinct stamps are the
steps. A request's first token is its prefill's, each other one that of a decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.roofline.operations import Ints, ModelFacts, Work


@dataclass(frozen=True)
class Steps:
    """The steps behind the records of a run (RECORD_SCHEMA), one token a chunk.

    Requests that got no token took part in none. Windows are begin and end in seconds; what lies
    in one begins in it and ends before its end.
    """

    records: pa.Table

    @cached_property
    def _answered(self) -> pa.Table:
        lengths = pc.list_value_length(self.records["token_times"])
        return self.records.combine_chunks().filter(pc.greater(lengths, 0))

    @cached_property
    def _prompts(self) -> Ints:
        return _array(self._answered["prompt_tokens"], np.int64)

    @cached_property
    def _times(self) -> NDArray[np.float64]:
        return _array(pc.list_flatten(self._answered["token_times"]), np.float64)

    @cached_property
    def _lengths(self) -> Ints:
        return _array(pc.list_value_length(self._answered["token_times"]), np.int64)

    @cached_property
    def _ends(self) -> Ints:
        """Where each request's part of the times ends."""
        return np.cumsum(self._lengths)

    @cached_property
    def _begins(self) -> Ints:
        return self._ends - self._lengths

    @cached_property
    def _stamps(self) -> tuple[NDArray[np.float64], Ints]:
        """The stamp of each step, ascending, and its tokens."""
        stamps, tokens = np.unique(self._times, return_counts=True)
        return stamps, tokens.astype(np.int64)

    @cached_property
    def _prefills(self) -> Ints:
        """Which of the steps are prefills."""
        return np.searchsorted(self._stamps[0], self._times[self._begins])

    def decode(self, facts: ModelFacts, window: tuple[float, float]) -> Work:
        """Count the decode steps inside a window; each took since the stamp before it.

        The engine decodes as soon as the step before is stamped, so nothing else is in that time.
        """
        stamps, _ = self._stamps
        begin, end = np.searchsorted(stamps, window)
        decodes = np.ones(len(stamps), dtype=bool)
        decodes[self._prefills] = False
        inside = decodes[begin + 1 : end]
        seconds = np.diff(stamps[begin:end])[inside]
        if not len(seconds):
            return Work(0, 0.0, 0.0, 0.0)
        first = np.maximum(self._stamped(np.less_equal, stamps[begin]), 1)
        last = np.maximum(self._stamped(np.less, window[1]), first)
        # token number k, counted from 0, attends to the prompt and k more
        spans = self._prompts + first, self._prompts + last - 1
        return facts.decode(len(seconds), float(seconds.sum()), *spans)

    def _stamped(self, compare: Any, moment: float) -> Ints:
        """Count the tokens that each request has by a moment."""
        counts: Ints = np.add.reduceat(compare(self._times, moment), self._begins, dtype=np.int64)
        return counts

    def prefill(self, facts: ModelFacts, window: tuple[float, float]) -> Work:
        """Count the prefills inside a window, each from its start to its token."""
        started = _array(self._answered["started"], np.float64)
        ended = self._times[self._begins]
        inside = (started >= window[0]) & (ended < window[1])
        seconds = float((ended - started)[inside].sum())
        return facts.prefill(seconds, self._prompts[inside])

    def most_cached(self) -> int:
        """Give the most positions that the KV cache held at once.

        A prefill writes its prompt, a decode the last token of each of its rows; a request leaves
        with its last token, which is not written any more.
        """
        stamps, written = self._stamps
        if not len(stamps):
            return 0
        change = written.copy()
        np.add.at(change, self._prefills, self._prompts - 1)
        lasts = np.searchsorted(stamps, self._times[self._ends - 1])
        held = self._prompts + self._lengths - 1
        freed = np.zeros(len(stamps) + 1, dtype=np.int64)
        np.add.at(freed, lasts + 1, held)
        return int((np.cumsum(change) - np.cumsum(freed[:-1])).max())


def _array(column: pa.ChunkedArray, kind: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy(), dtype=kind)
