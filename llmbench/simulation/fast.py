"""A replica that jumps from event to event instead of running the engine step by step.

It serves what most simulations ask for: continuous batching of whole prompts, first come, first
served, where nobody gives up. Its records equal those of the engine exactly, which the tests check.

Between two events (a request that can join, a sequence that finishes), the rows of decode steps are
the same, and their depth grows by the rows each step. A sequence with n output tokens gets the
first one from its prefill step and finishes with the (n − 1)-th decode step after it; its token
times are a slice of the ends of its replica's decode steps.
"""

from __future__ import annotations

from bisect import bisect_right
from heapq import heappop, heappush
from math import inf

import numpy as np
from numpy.typing import NDArray

from llmbench.simulation.draws import Draws, Factors
from llmbench.simulation.step_times import StepModel

Floats = NDArray[np.float64]

MANY = 48  # steps, from which on numpy is faster than a loop
CAUTION = 1 - 1e-9  # for rounding in a lower bound


class FastReplica:
    """A replica of an engine with ``slots``, which prefills at most ``prefill_tokens`` per step.

    ``wake_lags`` are those of an engine that waits for due times itself; None: requests arrive at
    given times. ``requests`` are the numbers of those that arrive. Results are by arrival:
    ``started``, the time of the first token in ``first``, and in ``decoded`` the number of decode
    steps before it. ``ends`` has the end of each decode step, ``wakes`` when waits ended, and
    ``finished`` the times at which requests finished.
    """

    def __init__(
        self,
        model: StepModel,
        slots: int,
        prefill_tokens: int,
        factors: Factors,
        wake_lags: Draws | None = None,
    ) -> None:
        self._model = model
        self._free = slots
        self._prefill_tokens = prefill_tokens
        self._factors = factors
        self._has_waited = False
        self._wake_lags = wake_lags
        self._lines: dict[int, tuple[float, float]] = {}
        self._running: list[tuple[int, int]] = []  # finishing decode step, cached tokens then
        self._depth = 0
        self._head = 0
        self.now = 0.0
        self.requests: list[int] = []
        self.arrivals: list[float] = []
        self.prompts: list[int] = []
        self.outputs: list[int] = []
        self.started: list[float] = []
        self.first: list[float] = []
        self.decoded: list[int] = []
        self.ends: list[float] = []
        self.wakes: list[float] = []
        self.finished: list[float] = []
        self._seen = 0

    def arrive(self, request: int, moment: float, prompt: int, output: int) -> None:
        """Add a request of a plan that arrives at a moment, before others that arrive later."""
        last = len(self.arrivals)
        if last and moment < self.arrivals[-1]:
            last = bisect_right(self.arrivals, moment)
        self.requests.insert(last, request)
        self.arrivals.insert(last, moment)
        self.prompts.insert(last, prompt)
        self.outputs.insert(last, output)

    def in_flight(self, moment: float) -> int:
        """Advance to a moment, and return how many requests have arrived but not finished then."""
        if self.now < moment:
            self.advance(moment)
        finished, seen = self.finished, self._seen
        while seen < len(finished) and finished[seen] <= moment:
            seen += 1
        self._seen = seen
        return len(self.arrivals) - seen

    def may_finish_first(self, output: int) -> bool:
        """Return whether a request that arrives now may finish before all that run."""
        running = self._running
        return not running or output - 1 < running[0][0] - len(self.ends)

    def next_finish(self) -> float:
        """Return a time before which no other request finishes.

        Except one that arrives later and `may_finish_first`; others only delay those that run.
        """
        if self._seen < len(self.finished):
            return self.finished[self._seen]
        has_more = self._head < len(self.arrivals)
        joins = max(self.now, self.arrivals[self._head]) if self._free and has_more else inf
        if not self._running:
            return joins
        most = self._running[0][0] - len(self.ends)
        rows = len(self._running)
        begin, per_token = self._lines.get(rows) or self._line(rows)
        least = (begin + per_token * self._depth) * sum(self._factors.decode.ahead(most))
        return min(joins, self.now + CAUTION * least)

    def advance(self, until: float) -> None:
        """Run all steps that begin before a moment, from which on more requests may arrive."""
        arrivals, count = self.arrivals, len(self.arrivals)
        while self.now < until:
            waits = self._head < count and arrivals[self._head] <= self.now
            if waits and self._free:
                self._prefill(count)
            elif self._running:
                self._decode(until, count)
            elif self._head < count and arrivals[self._head] < until:
                self._wake(arrivals[self._head])
            else:
                return

    def _wake(self, moment: float) -> None:
        late = self._wake_lags.next() if self._wake_lags else 0.0
        self.now = moment + late
        self._has_waited = True
        self.wakes.append(self.now)

    def _prefill(self, count: int) -> None:
        """Prefill the first waiting prompts in one step."""
        arrivals, prompts, now = self.arrivals, self.prompts, self.now
        begin = self._head
        end, tokens, last = begin + 1, prompts[begin], begin + self._free
        while (
            end < count
            and end < last
            and arrivals[end] <= now
            and tokens + prompts[end] <= self._prefill_tokens
        ):
            tokens += prompts[end]
            end += 1
        seconds = self._model.prefill_seconds(tokens, 0, end - begin)
        self._head, self._free = end, self._free - (end - begin)
        factors = self._factors.wake if self._has_waited else self._factors.prefill
        self._has_waited = False
        self.now = first = now + seconds * factors.next()
        decoded = len(self.ends)
        for index in range(begin, end):
            self.started.append(now)
            self.first.append(first)
            self.decoded.append(decoded)
            steps = self.outputs[index] - 1
            if steps:
                prompt = prompts[index]
                self._depth += prompt
                heappush(self._running, (decoded + steps, prompt + steps))
            else:
                self._free += 1
                self.finished.append(first)

    def _decode(self, until: float, count: int) -> None:
        """Decode until a sequence finishes, or a request can join."""
        running = self._running
        rows, most = len(running), running[0][0] - len(self.ends)
        limit = inf
        if self._free:
            limit = min(until, self.arrivals[self._head]) if self._head < count else until
        line = self._lines.get(rows) or self._line(rows)
        if most < MANY:
            self._step(rows, most, line, limit)
        else:
            self._jump(rows, most, line, limit)
        decoded = len(self.ends)
        while running and running[0][0] == decoded:
            self._depth -= heappop(running)[1]
            self._free += 1
            self.finished.append(self.now)

    def _line(self, rows: int) -> tuple[float, float]:
        line = self._lines[rows] = self._model.decode_line(rows)
        return line

    def _step(self, rows: int, most: int, line: tuple[float, float], limit: float) -> None:
        """Run decode steps one by one, up to the first that ends at the limit or later."""
        now, depth, ends = self.now, self._depth, self.ends
        before = len(ends)
        begin, per_token = line
        factors = self._factors.decode
        for factor in factors.ahead(most):
            now += (begin + per_token * depth) * factor
            depth += rows
            ends.append(now)
            if now >= limit:
                break
        factors.skip(len(ends) - before)
        self.now, self._depth = now, depth

    def _jump(self, rows: int, most: int, line: tuple[float, float], limit: float) -> None:
        """Run many decode steps at once, up to the first that ends at the limit or later."""
        begin, per_token = line
        if limit < inf:  # not many more than there will be
            typical = begin + per_token * self._depth
            most = min(most, MANY + int((limit - self.now) / typical)) if typical > 0 else most
        depths = self._depth + rows * np.arange(most)
        times = np.empty(most + 1)
        times[0] = self.now
        times[1:] = (begin + per_token * depths) * self._factors.decode.ahead(most)
        ends = np.cumsum(times)[1:]
        done = min(int(np.searchsorted(ends, limit)) + 1, most)
        self._factors.decode.skip(done)
        self.ends += ends[:done].tolist()
        self.now, self._depth = self.ends[-1], self._depth + rows * done
