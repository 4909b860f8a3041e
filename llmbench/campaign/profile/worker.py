"""A worker that profiles one case: ``python -m llmbench.campaign.profile.worker``.

It receives a job, reports events, and adds the case to profile.json. Exit codes are those of
`llmbench.worker`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmbench import environment
from llmbench.analysis.trace.breakdown import break_down
from llmbench.analysis.trace.events import events_of, merged
from llmbench.backends.base import BACKENDS
from llmbench.backends.local import LocalServer, local_server
from llmbench.campaign.prepare import prepare
from llmbench.campaign.profile import recording
from llmbench.campaign.profile.passes import Job
from llmbench.campaign.profile.phases import Phase, implied_rows, phases_of
from llmbench.campaign.profile.recording import DISCARDED, Recorded
from llmbench.campaign.worker import Events, context_of, work
from llmbench.engine.warmup import graphs_compiled
from llmbench.runs import profile
from llmbench.runs.caveats import Caveat
from llmbench.runs.profile import TRACES, CaseProfile, PhaseProfile

SIMILAR = 1.25  # the largest accepted ratio of profiled to unprofiled step time, or its inverse


def main() -> int:
    """Profile the job from stdin and store the result; return the exit code."""
    return work(do)


def do(fields: dict[str, Any], events: Events) -> None:
    """Profile a job's case and add it to profile.json."""
    job = Job.read(fields)
    profile.add(Path(job.folder), profile_case(job, events))


def profile_case(job: Job, events: Events) -> CaseProfile:
    """Open the case's backend, time its steps, and repeat them with profilers on."""
    case = job.case
    scratch, rows = Path(job.scratch), implied_rows(case.scenario, job.rows)
    marks = recording.ranges(nvtx=job.nvtx)
    machine = environment.capture(Path.cwd())
    recording.name_fused_kernels()
    events.stage("reading the workload")
    load = prepare(case, scratch)
    backend = BACKENDS.part(case.backend_options)
    with backend.open(context_of(case, load, events, scratch / "log")) as opened:
        server = local_server(opened)
        graphs = graphs_compiled()
        timed = [
            tuple(recording.time_steps(phase, job.steps, marks))
            for phase in _announced("timing", phases_of(server.runner, load.requests, rows), events)
        ]
        with server.traced(scratch) as runner:
            phases, device = phases_of(runner, load.requests, rows), server.model.device
            recorded = [
                recording.record(phase, job.steps, device, scratch / f"{phase.name}.json", marks)
                for phase in _announced("profiling", phases, events)
            ]
        graphs = graphs_compiled() - graphs
    events.stage("reading the traces")
    phase_profiles = tuple(
        _phase(phase, seconds, trace, job, case.slug)
        for phase, seconds, trace in zip(phases, timed, recorded, strict=True)
    )
    return CaseProfile(
        case=case,
        device=device.type,
        settings=server.effective(),
        phases=phase_profiles,
        environment=machine,
        caveats=tuple(_caveats(server, graphs, phase_profiles)),
    )


def _announced(verb: str, phases: Sequence[Phase], events: Events) -> Iterator[Phase]:
    """Yield phases, reporting each one as a stage."""
    for phase in phases:
        events.stage(f"{verb} {phase.name}")
        yield phase


def _phase(
    phase: Phase, seconds: tuple[float, ...], recorded: Recorded, job: Job, slug: str
) -> PhaseProfile:
    """Store a phase's trace, merged with the runtime's own traces; return the phase's profile."""
    runtime_traces = [
        json.loads(path.read_text("utf-8")) for path in Path(job.scratch).glob("*.trace.json")
    ]
    trace = merged(json.loads(recorded.path.read_text("utf-8")), runtime_traces)
    name = f"{TRACES}/{slug}-{phase.name}.json.gz"
    _store(trace, Path(job.folder) / name, Path(job.scratch) / "kept.json.gz")
    return PhaseProfile(
        phase=phase.name,
        rows=phase.rows,
        prompt_tokens=phase.prompt_tokens,
        cache_tokens=recorded.cache_tokens,
        tokens_per_step=recorded.tokens / job.steps,
        step_seconds=seconds,
        breakdown=break_down(events_of(trace), recorded.device.type, DISCARDED, job.steps),
        trace=name,
    )


def _store(trace: dict[str, Any], path: Path, partial: Path) -> None:
    """Write a compressed trace atomically, through a partial file."""
    partial.write_bytes(gzip.compress(json.dumps(trace).encode()))
    partial.replace(path)


def _caveats(server: LocalServer, graphs: int, phases: Sequence[PhaseProfile]) -> Iterator[Caveat]:
    yield from server.model.caveats
    if not server.warmup.steady:
        yield Caveat("unsteady-warmup", rounds=len(server.warmup.rounds))
    if graphs:
        yield Caveat("recompiled", graphs=graphs)
    for phase in phases:
        fewest, most = min(phase.breakdown.kernels), max(phase.breakdown.kernels)
        if fewest != most:
            yield Caveat("uneven-kernels", phase=phase.phase, fewest=fewest, most=most)
        if phase.ratio > SIMILAR:
            yield Caveat("profiler-heavy", phase=phase.phase, ratio=phase.ratio)
        if phase.ratio < 1 / SIMILAR:
            yield Caveat("profile-disturbed", phase=phase.phase, ratio=phase.ratio)


if __name__ == "__main__":
    raise SystemExit(main())
