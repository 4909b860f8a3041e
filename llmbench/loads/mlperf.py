"""Requests issued by LoadGen, the load generator of MLPerf Inference."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import ANSWERED, Arrivals, Dispatch, RequestOutcome, Shard
from llmbench.loads.schedule import Load, Scheduled
from llmbench.loads.steady_rate import Poisson
from llmbench.loads.stopping import Stop, stop_rule
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.scenario.slo import Objective
from llmbench.units import MAX_RATE, PerSecond

SUMMARY = "mlperf_log_summary.txt"
NANOSECONDS, MILLISECONDS = 1e9, 1e3
Mode = Literal["single-stream", "server", "offline"]
MODES = {"single-stream": "SingleStream", "server": "Server", "offline": "Offline"}


class Mlperf(Load):
    """Queries issued by MLPerf Inference's LoadGen under its rules, with its official logs.

    `stop.min_requests` and `stop.min_duration` are its minima, `requests` and `duration` its
    maxima. Its `server` scenario takes its latency bounds from the `slo`: ttft and tpot, or e2e.
    Latencies count from the time LoadGen issues a query. LoadGen's result is stored with the
    run.
    """

    needs: ClassVar = {"mlperf_loadgen": "mlperf"}

    class Options(plugins.Options):
        """``{kind: mlperf, scenario: server, target_qps: 4/s}``."""

        scenario: Mode = Field(description="MLPerf scenario")
        target_qps: PerSecond | None = Field(
            default=None,
            gt=0,
            le=MAX_RATE,
            description="queries per second: target rate in `server`, expected rate in `offline`",
        )

        @model_validator(mode="after")
        def _has_a_target(self) -> Mlperf.Options:
            if (self.target_qps is None) != (self.scenario == "single-stream"):
                raise ValueError("set `target_qps` for server and offline, not for single-stream")
            return self

    options: Options

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Arrivals:
        """Return arrivals similar to LoadGen's, for calibrating a client."""
        match self.options.scenario:
            case "single-stream":
                return Closed(Closed.Options(concurrency=1)).arrivals(stop, rng)
            case "server":
                rate = self.options.target_qps
                return Poisson(Poisson.Options(rate=rate or 1.0)).arrivals(stop, rng)
        return Scheduled(np.zeros(stop.total or stop.min_requests or 1))

    def dispatch(self, pool: Sequence[Request], scenario: Scenario, logs: Path) -> Dispatch:
        """Return a dispatch that LoadGen fills, with the pool as its sample library."""
        if scenario.warmup or scenario.max_in_flight:
            raise InputError("load: mlperf has no `warmup` or `max_in_flight`; remove them")
        if scenario.abandon:
            raise InputError("load: mlperf needs every response; remove `abandon`")
        if getattr(scenario.backends[0], "clock", "real") != "real":
            raise InputError("load: mlperf needs real time; set `clock: real` on the fake backend")
        if any(request.turns for request in pool):
            raise InputError("load: mlperf issues single queries; use a workload without sessions")
        return _LoadGenDispatch(pool, stop_rule(scenario), self._settings(scenario), logs)

    def _settings(self, scenario: Scenario) -> Any:
        import mlperf_loadgen as lg  # noqa: PLC0415 (an extra)

        stop, settings = stop_rule(scenario), lg.TestSettings()
        settings.scenario = getattr(lg.TestScenario, MODES[self.options.scenario])
        settings.mode = lg.TestMode.PerformanceOnly
        settings.min_query_count = max(1, stop.min_requests)
        settings.max_query_count = stop.requests or 0
        settings.min_duration_ms = int(stop.min_duration * MILLISECONDS)
        settings.max_duration_ms = int((stop.duration or 0) * MILLISECONDS)
        settings.server_target_qps = settings.offline_expected_qps = self.options.target_qps or 1.0
        for name in ("qsl_rng_seed", "sample_index_rng_seed", "schedule_rng_seed"):
            setattr(settings, name, int(stream(scenario.seed, name).integers(2**32)))
        if self.options.scenario == "server":
            _bound(settings, scenario)
        return settings


def _bound(settings: Any, scenario: Scenario) -> None:
    """Set LoadGen's latency bounds: TTFT and TPOT, or end-to-end latency."""
    bounds = {Objective.of(key).quantity: bound for key, bound in scenario.slo.items()}
    settings.server_target_latency_percentile = 0.99
    if {"ttft", "tpot"} <= bounds.keys():
        settings.use_token_latencies = True
        settings.ttft_latency = int(bounds["ttft"] * NANOSECONDS)
        settings.tpot_latency = int(bounds["tpot"] * NANOSECONDS)
    elif "e2e" in bounds:
        settings.server_target_latency_ns = int(bounds["e2e"] * NANOSECONDS)
    else:
        raise InputError("load: mlperf's server scenario needs a `slo` of ttft and tpot, or of e2e")


class _LoadGenDispatch(Dispatch):
    """A dispatch that LoadGen fills from its own thread, once the clock reads 0.

    LoadGen takes its own timestamps, so first tokens and finished queries are reported immediately.
    """

    def __init__(self, pool: Sequence[Request], stop: Stop, settings: Any, logs: Path) -> None:
        super().__init__((), Scheduled(np.empty(0)), Stop())
        self._pool = pool
        self._bounds = stop
        self._settings = settings
        self._logs = logs
        self._origin = 0.0
        self._issued: SimpleQueue[tuple[Any, float]] = SimpleQueue()
        self._loadgen: Future[None] | None = None
        self._samples: dict[int, int] = {}
        self._indices = array("l")

    # -- LoadGen's side ----------------------------------------------------------------------------

    def _drive(self) -> None:
        """Run LoadGen's test and return when it has ended."""
        import mlperf_loadgen as lg  # noqa: PLC0415 (an extra)

        self._logs.mkdir(parents=True, exist_ok=True)
        logging = lg.LogSettings()
        logging.log_output.outdir = str(self._logs)
        logging.enable_trace = False
        size = len(self._pool)
        library = lg.ConstructQSL(size, size, lambda _: None, lambda _: None)
        system = lg.ConstructSUT(self._issue, lambda: None)
        lg.StartTestWithLogSettings(system, library, self._settings, logging)
        lg.DestroySUT(system)
        lg.DestroyQSL(library)

    def _issue(self, samples: list[Any]) -> None:
        now = time.monotonic()
        for sample in samples:
            self._issued.put((sample, now))
        self._wake()

    def _wake(self) -> None:
        if self.on_more:
            self.on_more()

    # -- the backend's side ------------------------------------------------------------------------

    @property
    def requests(self) -> Iterable[Request]:
        return [replace(self._pool[index], id=n) for n, index in enumerate(self._indices)]

    @property
    def total(self) -> int | None:
        return self._bounds.requests

    @property
    def finished(self) -> bool:
        if self._loadgen is None or not self._loadgen.done():
            return False
        self._loadgen.result()  # re-raises its exception
        return self._issued.empty() and super().finished

    def next_due(self) -> float | None:
        return 0.0 if self._loadgen is None else super().next_due()

    def take_due(self, now: float) -> list[tuple[Request, float]]:
        if self._loadgen is None and now >= 0:
            self._begin(now)
        while not self._issued.empty():
            sample, at = self._issued.get()
            request = replace(self._pool[sample.index], id=len(self._samples))
            self._samples[request.id] = sample.id
            self._indices.append(sample.index)
            self.add(at - self._origin, request)
        return super().take_due(now)

    def _begin(self, now: float) -> None:
        self._origin = time.monotonic() - now
        self._loadgen = Future()
        threading.Thread(target=self._conclude, args=(self._loadgen,), daemon=True).start()

    def _conclude(self, loadgen: Future[None]) -> None:
        try:
            self._drive()
        except BaseException as error:  # noqa: BLE001 (re-raised in the serving thread)
            loadgen.set_exception(error)
        else:
            loadgen.set_result(None)
        self._wake()

    def first_token(self, request_id: int) -> None:
        self._report("FirstTokenComplete", request_id, 1)

    def finish(self, request_id: int, now: float, outcome: RequestOutcome = ANSWERED) -> None:
        super().finish(request_id, now, outcome)
        self._report("QuerySamplesComplete", request_id, outcome.tokens)

    def _report(self, event: str, request_id: int, tokens: int) -> None:
        import mlperf_loadgen as lg  # noqa: PLC0415 (an extra)

        response = lg.QuerySampleResponse(self._samples[request_id], 0, 0, tokens)
        getattr(lg, event)([response])

    def shard(self, index: int, count: int) -> Shard:  # noqa: ARG002 (there are no shards)
        raise InputError("load: mlperf is sent by one client; remove `clients`")

    @property
    def facts(self) -> dict[str, Any]:
        return {"stopped_by": ["loadgen"], "mlperf": read_summary(self._logs / SUMMARY)}


def read_summary(path: Path) -> dict[str, Any]:
    """Return the ``result`` in LoadGen's summary and ``missed``, the requirements not met."""
    lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    result = next(line.partition(":")[2].strip() for line in lines if line.startswith("Result is"))
    missed = [line.partition(":")[0].strip() for line in lines if line.upper().endswith(": NO")]
    return {"result": result, "missed": missed}
