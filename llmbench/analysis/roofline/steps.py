"""The steps of a local engine, reconstructed from the records of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.roofline.work import Ints, ModelCosts, Work


class Steps:
    """The steps of a local engine, reconstructed from records (RECORD_SCHEMA), one token per chunk.

    All tokens of a step share one stamp and every step yields a token, so the distinct stamps are
    the steps. A request's first token comes from its prefill, every other one from a decode step;
    requests without tokens took part in none. A step lies in a window (begin, end), in seconds, if
    it begins in the window and ends before the window does.
    """

    def __init__(self, records: pa.Table) -> None:
        lengths = pc.list_value_length(records["token_times"])
        answered = records.combine_chunks().filter(pc.greater(lengths, 0))
        self._started = _array(answered["started"], np.float64)
        self._prompts: Ints = _array(answered["prompt_tokens"], np.int64)
        cached = answered["cached_tokens"].fill_null(0)
        self._cached: Ints = _array(cached, np.int64)
        self._times = _array(pc.list_flatten(answered["token_times"]), np.float64)
        self._lengths: Ints = _array(pc.list_value_length(answered["token_times"]), np.int64)
        self._ends = np.cumsum(self._lengths)  # of each request's slice of the times
        self._begins: Ints = self._ends - self._lengths
        self._stamps, tokens = np.unique(self._times, return_counts=True)
        self._tokens = tokens.astype(np.int64)  # of each step
        # the index of each prefill among the steps
        self._prefills = np.searchsorted(self._stamps, self._times[self._begins])

    def decode(self, costs: ModelCosts, window: tuple[float, float]) -> Work:
        """Return the work of the decode steps in a window; each begins at the preceding stamp.

        The engine decodes right after stamping the previous step, so that time contains nothing
        else.
        """
        stamps = self._stamps
        begin, end = np.searchsorted(stamps, window)
        decodes = np.ones(len(stamps), dtype=bool)
        decodes[self._prefills] = False
        inside = decodes[begin + 1 : end]
        seconds = np.diff(stamps[begin:end])[inside]
        if not len(seconds):
            return Work(0, 0.0, 0.0, 0.0)
        first = np.maximum(self._stamped(np.less_equal, stamps[begin]), 1)
        last = np.maximum(self._stamped(np.less, window[1]), first)
        # token k, counted from 0, attends to the prompt and k more tokens
        spans = self._prompts + first, self._prompts + last - 1
        return costs.decode(len(seconds), float(seconds.sum()), *spans)

    def _stamped(self, compare: Any, moment: float) -> Ints:
        """Return, per request, the number of tokens with ``compare(stamp, moment)``."""
        counts: Ints = np.add.reduceat(compare(self._times, moment), self._begins, dtype=np.int64)
        return counts

    def prefill(self, costs: ModelCosts, window: tuple[float, float]) -> Work:
        """Return the work of the prefill steps in a window, each of one or several prompts.

        A step ends with the first token of its requests, which share that stamp.
        """
        ended = self._times[self._begins]
        inside = (self._started >= window[0]) & (ended < window[1])
        _, firsts = np.unique(ended[inside], return_index=True)  # a request of each step
        seconds = float((ended - self._started)[inside][firsts].sum())
        prompts, cached = self._prompts[inside], self._cached[inside]
        return costs.prefill(len(firsts), seconds, prompts, cached)

    def peak_cached_positions(self) -> int:
        """Return the peak number of positions in the KV cache.

        A prefill writes its prompt, a decode step the previous token of each row; a request leaves
        with its last token, which is never written.
        """
        if not len(self._stamps):
            return 0
        change = self._tokens.copy()
        np.add.at(change, self._prefills, self._prompts - 1)
        lasts = np.searchsorted(self._stamps, self._times[self._ends - 1])
        held = self._prompts + self._lengths - 1
        freed = np.zeros(len(self._stamps) + 1, dtype=np.int64)
        np.add.at(freed, lasts + 1, held)
        return int((np.cumsum(change) - np.cumsum(freed[:-1])).max())


def _array(column: pa.ChunkedArray, kind: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy(), dtype=kind)
