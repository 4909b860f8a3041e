"""A worker: ``python -m llmbench.worker`` measures one run in its own process.

Exit codes: 0 the run is stored, 1 it failed, 2 bad input.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llmbench import environment
from llmbench.backends.base import OpenContext, Server
from llmbench.backends.gc_freeze import frozen_gc
from llmbench.backends.replicas import backend_of
from llmbench.campaign.job import Job
from llmbench.campaign.prepare import Prepared, prepare
from llmbench.campaign.process import STORING
from llmbench.collectors.base import CollectorOptions
from llmbench.collectors.sampler import Collected, Sampler, started, watch
from llmbench.environment import child_process
from llmbench.environment.software import SLOWDOWN
from llmbench.errors import InputError, MeasurementError
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.run import CLOCK_ORIGIN, Quality, Run, records_table
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario

if TYPE_CHECKING:
    from llmbench.analysis.steady_state import WarmUp

PROGRESS_SECONDS = 0.2
ABOUT_OTHERS = ("other-load", "gpu-shared")


@dataclass(slots=True)
class Events:
    """Sends a worker's events to its parent process."""

    send: Callable[[dict[str, Any]], object]
    _last_progress: float = 0.0

    def stage(self, text: str) -> None:
        """Report the start of a stage."""
        self.send({"stage": text})

    def progress(self, dispatch: Dispatch) -> None:
        """Report the progress of a load, at most every PROGRESS_SECONDS and when it is complete."""
        now = time.monotonic()
        is_last = dispatch.completed == dispatch.total
        if is_last or now - self._last_progress >= PROGRESS_SECONDS:
            self._last_progress = now
            self.send(dispatch.progress().to_event())

    def failed(self, kind: str, message: str) -> None:
        """Report why the run failed."""
        self.send({"failure": kind, "message": message})


def main() -> int:
    """Measure the job from stdin and store the run; return the exit code."""
    return work(do)


def do(fields: dict[str, Any], events: Events) -> None:
    """Measure a job's case once and store the run."""
    job = Job.read(fields)
    measured = measure(job, events)
    from llmbench.runs import store  # noqa: PLC0415 (slow to import, needed after the load)

    store.write_run(Path(job.folder), *measured)


def work(do: Callable[[dict[str, Any], Events], None]) -> int:
    """Receive a job from the parent process, run it with ``do``, and return the exit code."""
    channel = child_process.parent()
    Scenario.model_rebuild()  # while the parent reads the scenario; it imports all parts' options
    return attempt(do, channel.receive(dict[str, Any]), Events(channel.send))


def attempt(
    do: Callable[[dict[str, Any], Events], None], fields: dict[str, Any], events: Events
) -> int:
    """Run a job with ``do``, report LlmbenchErrors as events, and return the exit code."""
    try:
        do(fields, events)
    except InputError as error:
        events.failed("bad-input", str(error))
        return 2
    except MeasurementError as error:
        events.failed(error.kind, str(error))
        return 1
    return 0


def measure(job: Job, events: Events) -> tuple[Run, pa.Table]:
    """Measure a case once in this process; return the run and the schedule of its requests."""
    # the sampler imports its modules meanwhile
    with started(job.case.scenario.collect) as sampler:
        return _measure(job, events, sampler)


def _measure(job: Job, events: Events, sampler: Sampler | None) -> tuple[Run, pa.Table]:
    began_at = datetime.now(UTC).isoformat(timespec="seconds")
    machine = environment.capture(Path.cwd())
    events.stage("reading the workload")
    case = job.case
    load = prepare(case, _logs(job, "-mlperf"))
    context = context_of(case, load, events, _logs(job, ".log"))
    with backend_of(case).open(context) as server:
        load = load.sending(server.prepare(load.needed))
        if sampler:
            sampler.wait()  # its imports would disturb the calibration
        server.calibrate(load.sample)
        events.stage("measuring")
        served = _serve(case, server, load.dispatch, events, sampler)
        report, own_series = server.report(), server.series()
        examined = _examine(job, server, context, load, served.records)
    events.stage(STORING)
    warmup = _warmup(case, served.records)
    run = Run(
        case=case,
        repeat=job.repeat,
        began_at=began_at,
        records=records_table(warmup.records),
        series=(*served.collected.series(served.origin), *own_series),
        environment=machine,
        backend_report=asdict(replace(report, caveats=(), facts={})),
        facts={**_facts(load, served, warmup), **report.facts},
        quality=examined.quality,
        caveats=(
            *([Caveat("slowed", percent=100 * context.slowdown)] if context.slowdown else []),
            *load.caveats,
            *report.caveats,
            *_collected(served.collected.caveats, is_monitored=report.is_monitored),
            *examined.caveats,
            *_load_caveats(served.facts),
            *warmup.caveats,
        ),
    )
    return run, load.schedule


@dataclass(frozen=True, slots=True)
class _Served:
    """A served load; ``origin`` is the zero of its times on the monotonic clock."""

    records: list[Record]
    facts: dict[str, Any]
    collected: Collected
    origin: float
    unix_origin: float | None


def _serve(
    case: Case, server: Server, dispatch: Dispatch, events: Events, sampler: Sampler | None
) -> _Served:
    """Serve the load while the collectors watch; return what it left."""
    # collect garbage before the clock starts, since a collection would delay the first requests
    with frozen_gc(), watch(_collectors(case, server), server.pid, sampler) as collected:
        clock = server.new_clock()
        origin, unix_origin = time.monotonic() - clock.now(), clock.unix_origin()
        records = server.serve(dispatch, clock, lambda: events.progress(dispatch))
        facts = dispatch.facts
        records += dispatch.summary.unsent_records()
    return _Served(records, facts, collected, origin, unix_origin)


@dataclass(frozen=True, slots=True)
class _Examined:
    """The quality of a case's outputs, and its caveats."""

    quality: Quality
    caveats: tuple[Caveat, ...]


def _examine(
    job: Job, server: Server, context: OpenContext, load: Prepared, records: list[Record]
) -> _Examined:
    """Compare the answers under load and examine the outputs, after the load."""
    from llmbench.quality import under_load  # noqa: PLC0415 (slow to import, needed after the load)
    from llmbench.quality.evaluate import breaches, examine  # noqa: PLC0415 (the same)

    compared = under_load.compare(job.case, server, context, load.requests, records)
    quality = examine(job.case, job.repeat, server, context, load.prompts)
    caveats = (*breaches(job.case, quality), *under_load.changes(compared))
    return _Examined(replace(quality, under_load=compared), caveats)


def _warmup(case: Case, records: list[Record]) -> WarmUp:
    """Return the records with the warm-up found in them, if the scenario asks to find it."""
    from llmbench.analysis.steady_state import WarmUp, find_warmup  # noqa: PLC0415 (as above)

    return find_warmup(records) if case.scenario.warmup == "auto" else WarmUp(records, {})


def _facts(load: Prepared, served: _Served, warmup: WarmUp) -> dict[str, Any]:
    return {
        **served.collected.facts,
        CLOCK_ORIGIN: served.unix_origin,
        "schedule_sha256": load.digest,
        **served.facts,
        **warmup.facts,
    }


def _collectors(case: Case, server: Server) -> list[CollectorOptions]:
    """Return the options of the collectors of a run, one or several for each of the scenario."""
    own = (options.for_servers(server.access) for options in case.scenario.collect)
    return [*chain.from_iterable(own)]


def _collected(caveats: Iterable[Caveat], *, is_monitored: bool) -> Iterator[Caveat]:
    """Yield the collectors' caveats; none about others if the system under test is among them."""
    return (caveat for caveat in caveats if is_monitored or caveat.kind not in ABOUT_OTHERS)


def _load_caveats(facts: dict[str, Any]) -> Iterator[Caveat]:
    """Yield caveats about a load that ended early or is invalid for MLPerf."""
    for reason in facts["stopped_by"]:
        if reason in ("error-rate", "client-lag"):
            yield Caveat("ended-early", limit=reason.replace("-", "_"))
    if facts.get("mlperf", {}).get("result", "VALID") != "VALID":
        yield Caveat("mlperf-invalid", missed=facts["mlperf"]["missed"])


def context_of(case: Case, load: Prepared, events: Events, log: Path) -> OpenContext:
    """Return the context in which a backend opens: options, load shape, log path and slowdown."""
    scenario = case.scenario
    return OpenContext(
        model=scenario.model,
        engine=scenario.engine,
        parallel=scenario.parallel,
        sampling=scenario.sampling,
        load_shape=load.load_shape,
        seed=scenario.seed,
        stop_at_eos=scenario.stop_at_eos,
        keep_outputs=scenario.keep_outputs,
        keep_answers=bool(scenario.quality and scenario.quality.under_load),
        on_stage=events.stage,
        log=log,
        slowdown=_slowdown(),
        routes=load.routes,
    )


def _slowdown() -> float:
    """Return the relative slowdown of a local backend's steps, set by an environment variable."""
    text = os.environ.get(SLOWDOWN, "0")
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < math.inf:
        raise InputError(f"{SLOWDOWN}={text}: set it to a fraction such as 0.05, or unset it")
    return share


def _logs(job: Job, suffix: str) -> Path:
    """Return the log path of a run's server or load generator."""
    return Path(job.folder) / "logs" / f"{job.case.slug}-r{job.repeat}{suffix}"


if __name__ == "__main__":
    raise SystemExit(main())
