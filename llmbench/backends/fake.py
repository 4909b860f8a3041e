"""A simulated server with given step times, for tests and examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.backends.base import Backend, BackendReport, OpenContext, Server
from llmbench.engine.engine import Engine
from llmbench.engine.step_log import StepLog
from llmbench.engine.timed_runner import TimedRunner
from llmbench.loads.clock import Clock, MonotonicClock, VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.record import Record
from llmbench.runs.series import Series
from llmbench.scenario.rng import stream
from llmbench.units import Seconds


class Stall(plugins.Options):
    """A pause of the simulated server."""

    at: Seconds = Field(ge=0, description="start of the stall, as time since the load began")
    lasting: Seconds = Field(gt=0, description="duration of the stall")


class FakeOptions(plugins.Options):
    """``{kind: fake, prefill: 20 ms, per_token: 5 ms}``."""

    prefill: Seconds = Field(
        default=0.02, ge=0, description="time of a prefill step, without `prefill_per_token`"
    )
    prefill_per_token: Seconds = Field(default=0.0, ge=0, description="added per prompt token")
    per_token: Seconds = Field(
        default=0.005, ge=0, description="time of a decode step, without `per_row`"
    )
    per_row: Seconds = Field(default=0.0, ge=0, description="added per sequence in a decode step")
    load: Seconds = Field(default=0.0, ge=0, description="time to load the simulated model")
    stalls: tuple[Stall, ...] = Field(default=(), description="pauses of the server, by start time")
    service: Literal["constant", "exponential"] = Field(
        default="constant", description="prefill times: constant, or exponential with the same mean"
    )
    clock: Literal["virtual", "real"] = Field(
        default="virtual", description="clock of the run; on the virtual one, it takes no real time"
    )


@dataclass(slots=True)
class _SimulatedRunner(TimedRunner):
    """A model runner that only advances the clock."""

    options: FakeOptions
    clock: Clock
    rng: np.random.Generator
    slowdown: float

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        del starts  # what is cached takes no time
        tokens = sum(map(len, chunks))
        seconds = self.options.prefill + self.options.prefill_per_token * tokens
        if self.options.service == "exponential":
            seconds *= -float(np.log1p(-self.rng.random()))
        self._pass(seconds)
        return [self.next_token() for _ in slots]

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self._pass(self.options.per_token + self.options.per_row * len(slots))
        return [[self.next_token()] for _ in slots]

    def _pass(self, seconds: float) -> None:
        """Advance the clock by a step's duration, plus the stalls that begin during the step."""
        end = self.clock.now() + seconds * (1 + self.slowdown)
        for stall in self.options.stalls:
            if self.clock.now() <= stall.at < end:
                end += stall.lasting
        self.clock.sleep_until(end)


class Fake(Backend):
    """A simulated server with given prefill and per-token times, on a virtual or the real clock.

    On the virtual clock, a run takes no real time and every metric has a known exact value.
    """

    has_engine = True
    Options = FakeOptions
    options: FakeOptions

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[_FakeServer]:
        """Wait for the load time on the server's clock, then yield the server."""
        context.on_stage("simulating a load")
        server = _FakeServer(self.options, context)
        server.new_clock().sleep_until(self.options.load)
        yield server


@dataclass(slots=True)
class _FakeServer(Server):
    options: FakeOptions
    context: OpenContext
    step_log: StepLog = field(default_factory=lambda: StepLog(0.0))

    def new_clock(self) -> Clock:
        return VirtualClock() if self.options.clock == "virtual" else MonotonicClock()

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        rng = stream(self.context.seed, "service times")
        options = self.context.engine
        engine = Engine.of(
            options,
            _SimulatedRunner(self.options, clock, rng, self.context.slowdown),
            clock,
            priorities=self.context.priorities,
            prefill_tokens=1 if options.prefill_tokens == "auto" else options.prefill_tokens,
            keep_outputs=self.context.keep_outputs,
            on_progress=on_progress,
        )
        records = engine.serve(dispatch)
        self.step_log = engine.step_log
        return records

    def series(self) -> tuple[Series, ...]:
        return self.step_log.series()

    def report(self) -> BackendReport:
        settings = {"clock": self.options.clock}
        return BackendReport(
            requested=settings,
            effective=settings,
            cold_start={"load": self.options.load},
            engine_steps=self.step_log.report(),
        )
