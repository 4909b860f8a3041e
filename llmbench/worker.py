"""One run in a process of its own: ``python -m llmbench.worker``, a job on stdin, events on stdout.

Exit codes: 0 the run is stored, 1 it failed, 2 the user can mend what is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from llmbench import environment, models, plugins, scenario_file, store
from llmbench.backends.base import Demand, OpenContext
from llmbench.collectors.sampler import watch
from llmbench.dispatch import Dispatch, Limit, Stop
from llmbench.errors import InputError, MeasurementError
from llmbench.quality_pass import breaches, examine
from llmbench.record import Record
from llmbench.request import Phase, Request
from llmbench.run import Run, records_table
from llmbench.scenario import Case
from llmbench.streams import stream
from llmbench.workloads.base import Workload

__all__ = ["Events", "Job", "main", "measure"]

POOL = 4096
SAMPLE_REQUESTS, SAMPLE_SECONDS = 1000, 2.0
PROGRESS_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told to measure and where to store it."""

    folder: str
    case: str
    point: dict[str, Any]
    spec: dict[str, Any]
    repeat: int


@dataclass(slots=True)
class Events:
    """Tells the parent, in JSON lines, what goes on."""

    out: TextIO
    _last_progress: float = field(default=0.0)

    def stage(self, text: str) -> None:
        """Say what the worker does now."""
        self._say({"stage": text})

    def progress(self, completed: int, total: int | None) -> None:
        """Say how many requests are finished, a few times a second at the most."""
        now = time.monotonic()
        if now - self._last_progress >= PROGRESS_SECONDS or completed == total:
            self._last_progress = now
            self._say({"completed": completed, "total": total})

    def failed(self, kind: str, message: str) -> None:
        """Say why the run cannot be measured."""
        self._say({"failure": kind, "message": message})

    def _say(self, event: dict[str, Any]) -> None:
        self.out.write(json.dumps(event) + "\n")
        self.out.flush()


def main() -> int:
    """Measure the job on stdin and store the run."""
    events = Events(_own_stdout())
    job = Job(**json.load(sys.stdin))
    case = scenario_file.load_case(job.spec, job.case, job.point)
    try:
        store.write_run(Path(job.folder), measure(case, job, events))
    except InputError as error:
        events.failed("bad-input", str(error))
        return 2
    except MeasurementError as error:
        events.failed("error", str(error))
        return 1
    return 0


def _own_stdout() -> TextIO:
    """Keep stdout for events; whatever libraries print goes to stderr instead."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def measure(case: Case, job: Job, events: Events) -> Run:
    """Run a case once in this process and return all that was seen."""
    began_at = datetime.now(UTC).isoformat(timespec="seconds")
    surroundings = environment.capture(Path.cwd())
    events.stage("reading the workload")
    load = _Load.of(case)
    choice = case.backend
    backend = plugins.find("backend", choice.kind)(choice)
    context = _context(case, load, job, events)
    with backend.open(context) as server:
        server.calibrate(load.sample)
        events.stage("measuring")
        with watch(case.scenario.collect, server.pid) as watched:
            clock = server.new_clock()
            origin = time.monotonic() - clock.now()
            total = load.dispatch.total
            records = server.serve(load.dispatch, clock, lambda n: events.progress(n, total))
            records += [_dropped(request, due) for request, due in load.dispatch.dropped]
        account = server.account()
        quality = examine(case, job.repeat, server, context, load.prompts)
    events.stage("storing")
    return Run(
        case=case.name,
        slug=case.slug,
        backend=choice.kind,
        repeat=job.repeat,
        point=case.point,
        spec=case.spec,
        began_at=began_at,
        records=records_table(records),
        series=tuple(watched.series(origin)),
        environment=surroundings,
        account=asdict(replace(account, caveats=())),
        facts={**watched.facts, "schedule_sha256": load.digest},
        quality=quality,
        caveats=(*account.caveats, *watched.caveats, *breaches(case, quality)),
    )


def _dropped(request: Request, due: float) -> Record:
    return Record(
        request_id=request.id,
        phase=request.phase,
        due=due,
        sent=None,
        started=None,
        token_times=(),
        token_counts=(),
        prompt_tokens=len(request.prompt),
        max_new_tokens=request.max_new_tokens,
        finish="error",
        error_kind="dropped",
        error_message="fell due with `max_in_flight` requests in flight",
        prompt_id=request.prompt_id,
    )


def _context(case: Case, load: _Load, job: Job, events: Events) -> OpenContext:
    scenario = case.scenario
    return OpenContext(
        model=scenario.model,
        engine=scenario.engine,
        sampling=scenario.sampling,
        demand=load.demand,
        seed=scenario.seed,
        stop_at_eos=scenario.stop_at_eos,
        keep_outputs=scenario.keep_outputs,
        on_stage=events.stage,
        log=Path(job.folder) / "logs" / f"{case.slug}-r{job.repeat}.log",
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """All that is decided before the clock starts: the requests, their due times, their hash.

    ``sample`` is the beginning of the same load, to try it on nothing.
    """

    dispatch: Dispatch
    sample: Dispatch
    demand: Demand
    prompts: list[tuple[int, ...]]
    digest: str

    @classmethod
    def of(cls, case: Case) -> _Load:
        scenario = case.scenario
        stop = Stop(scenario.warmup, scenario.requests, scenario.duration)
        workload = plugins.find("workload", scenario.workload.kind)(scenario.workload)
        part = plugins.find("load", scenario.load.kind)(scenario.load)
        if hasattr(part, "following"):
            part = part.following(workload)
        arrivals = part.arrivals(stop, stream(scenario.seed, "arrivals"))
        little = Stop(requests=SAMPLE_REQUESTS, duration=SAMPLE_SECONDS)
        likewise = part.arrivals(little, stream(scenario.seed, "arrivals"))
        offsets = np.asarray(arrivals.at_start(), dtype=np.float64)
        pool = _draw(case, workload, stop.total or max(len(offsets), POOL))
        limit = Limit(scenario.max_in_flight, scenario.behind)
        dispatch = Dispatch(_Endless(pool, scenario.warmup), arrivals, stop, limit)
        sample = Dispatch(_Endless(pool, 0), likewise, little, limit)
        prompts = [request.prompt for request in pool]
        return cls(dispatch, sample, _demand(pool), prompts, _digest(offsets, pool))


def _draw(case: Case, workload: Workload, wanted: int) -> list[Request]:
    scenario = case.scenario
    tokenizer = models.load_tokenizer(scenario.model)
    pool = islice(workload.requests(tokenizer, scenario.seed), wanted)
    if not getattr(plugins.find("backend", case.backend.kind), "sends_text", False):
        return list(pool)
    return [r if r.text else replace(r, text=tokenizer.decode(r.prompt)) for r in pool]


@dataclass(frozen=True, slots=True)
class _Endless:
    """The requests numbered, the warm-up marked; a long run begins again with the first."""

    pool: Sequence[Request]
    warmup: int

    def __iter__(self) -> Iterator[Request]:
        for number in count():
            phase: Phase = "warmup" if number < self.warmup else "measured"
            yield replace(self.pool[number % len(self.pool)], id=number, phase=phase)


def _demand(pool: Sequence[Request]) -> Demand:
    return Demand(
        prompt_lengths=tuple(sorted({len(request.prompt) for request in pool})),
        longest_sequence=max(len(r.prompt) + r.max_new_tokens for r in pool),
    )


def _digest(offsets: np.ndarray, pool: Sequence[Request]) -> str:
    """Hash what will be sent and when, so that equal loads can be told."""
    lengths = np.array([(len(r.prompt), r.max_new_tokens) for r in pool], dtype=np.int64)
    return hashlib.sha256(offsets.tobytes() + lengths.tobytes()).hexdigest()


if __name__ == "__main__":
    raise SystemExit(main())
