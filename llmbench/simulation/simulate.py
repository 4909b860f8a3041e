"""A simulated run: the load, dispatch, scheduler and balancer of a case on a virtual clock."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from llmbench.backends.base import BACKENDS
from llmbench.backends.gc_freeze import paused_gc
from llmbench.campaign.prepare import DrawnRequests, Prepared, prepare, workload_of
from llmbench.engine.engine import Engine
from llmbench.errors import InputError
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import CLOCK_ORIGIN, Run, records_table
from llmbench.scenario.cases import Case
from llmbench.scenario.queue_options import FifoQueue
from llmbench.scenario.replicas import Policy
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.simulation.draws import Draws, Factors, Noise
from llmbench.simulation.fast import FastReplica
from llmbench.simulation.jumps import serve_alone, serve_balanced
from llmbench.simulation.plan import plan_of, table
from llmbench.simulation.replicated import Balanced, Replica
from llmbench.simulation.step_times import IN_PROCESS, StepModel
from llmbench.simulation.virtual import LateClock, ModeledRunner
from llmbench.workloads.contents import LengthsOnly

# what a simulation that jumps from event to event supports
JUMPABLE = {
    "batching": "continuous",
    "queue": FifoQueue(),
    "max_queue": None,
    "kv_tokens": None,
    "prefill_chunk": None,
    "prefix_cache": False,
}

OF_WORKLOAD = ("name", "model", "workload", "seed", "backends")
KEPT_WORKLOADS = 4


def simulate(case: Case, step_times: StepModel, *, replicas: int, repeat: int = 1) -> Run:
    """Return a run of a case whose steps take the times of a model, with a number of replicas.

    The load is that of the repeat with this number. Raises InputError if the case has no engine of
    llmbench, or its answers end by themselves.
    """
    _check(case)
    spec = case.spec_of(repeat)
    seeded = Case.of(Scenario.model_validate(spec), case.point, case.name)
    with paused_gc():  # nothing that it could free, and many objects to look at
        load = prepare(seeded, Path(), drawn_of(seeded))
        served = jumped(load, step_times, replicas) or stepped(load, step_times, replicas)
    return Run(
        case=case,
        repeat=repeat,
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        records=served.records,
        facts={
            CLOCK_ORIGIN: None,
            "schedule_sha256": load.digest,
            **served.facts,
            "simulated": {"replicas": replicas},
        },
        caveats=(Caveat("simulated", replicas=replicas), *load.caveats),
    )


def drawn_of(case: Case) -> DrawnRequests:
    """Return the requests of a case's workload, which other loads and numbers of replicas share."""
    spec = {key: value for key, value in case.spec.items() if key in OF_WORKLOAD}
    options = case.scenario.replicas
    needs_ids = case.scenario.engine.prefix_cache or (options and options.balance == "affinity")
    return _drawn(json.dumps([case.name, spec, bool(needs_ids)], sort_keys=True))


@lru_cache(maxsize=KEPT_WORKLOADS)
def _drawn(key: str) -> DrawnRequests:
    name, spec, needs_ids = json.loads(key)
    case = Case.of(Scenario.model_validate({**spec, "load": "closed", "requests": 1}), {}, name)
    workload = workload_of(case)
    if not needs_ids:
        workload.contents = LengthsOnly()
    return DrawnRequests(case, workload)


@dataclass(frozen=True, slots=True)
class ServedLoad:
    """The records of a simulated load, and its facts."""

    records: pa.Table
    facts: dict[str, Any]


def _check(case: Case) -> None:
    """Raise InputError if a case cannot be simulated."""
    if not BACKENDS.find(case.backend).has_engine:
        raise InputError(
            f"backends: `{case.backend_name}` has a scheduler of its own, which llmbench does not "
            "know; simulate a local backend such as `eager`"
        )
    if case.scenario.load.kind == "mlperf":
        raise InputError(
            "load: MLPerf's load generator reads the real clock, which a simulation does not have; "
            "use another load such as `poisson`"
        )
    if case.scenario.stop_at_eos:
        raise InputError(
            "stop_at_eos: a simulation does not know where answers end; set it to false"
        )


def jumped(load: Prepared, model: StepModel, replicas: int) -> ServedLoad | None:
    """Serve a load from event to event; return None if its case needs the engine itself."""
    engine, scenario = load.scenario.engine, load.scenario
    if any(getattr(engine, key) != value for key, value in JUMPABLE.items()):
        return None
    if (plan := plan_of(load)) is None:
        return None
    facts = {"stopped_by": [plan.ended_by], "abandoned_turns": 0}
    if _is_alone(load, replicas):
        (noise,) = _noises(load, model.of(IN_PROCESS), 1)
        jumping = _jumping(load, model.of(IN_PROCESS), noise, Draws(noise.lag, 0.0))
        return ServedLoad(table(plan, serve_alone(plan, jumping)), facts)
    model = model.of(replicas)
    noises = _noises(load, model, replicas)
    servers = [_jumping(load, model, noise) for noise in noises]
    lags = [Draws(noise.lag, 0.0) for noise in noises]
    served = serve_balanced(plan, servers, lags, _policy(load), scenario.seed)
    return ServedLoad(table(plan, served), facts)


def _jumping(
    load: Prepared, model: StepModel, noise: Noise, lags: Draws | None = None
) -> FastReplica:
    slots = load.scenario.engine.slots
    return FastReplica(model, slots, _prefill_tokens(load, model), Factors(noise), lags)


def stepped(load: Prepared, model: StepModel, replicas: int) -> ServedLoad:
    """Serve a load with the engine, step by step."""
    scenario, dispatch = load.scenario, load.dispatch
    if _is_alone(load, replicas):
        records = alone(load, model.of(IN_PROCESS)).serve(dispatch)
    else:
        records = Balanced(
            _replicas(load, model.of(replicas), replicas), _policy(load), scenario.seed, dispatch
        ).serve()
    table = records_table([*records, *dispatch.summary.unsent_records()])
    return ServedLoad(table, dispatch.facts)


def _is_alone(load: Prepared, replicas: int) -> bool:
    return replicas == 1 and not load.scenario.replicas


def _policy(load: Prepared) -> Policy:
    options = load.scenario.replicas
    return options.balance if options else "round-robin"


def _prefill_tokens(load: Prepared, model: StepModel) -> int:
    tokens = load.scenario.engine.prefill_tokens
    return model.prefill_tokens if tokens == "auto" else tokens


def alone(load: Prepared, model: StepModel) -> Engine:
    """Return the engine of a backend without replicas: it sees requests late only when it waits."""
    (noise,) = _noises(load, model, 1)
    return _engine(load, model, noise, LateClock(lags=Draws(noise.lag, 0.0)))


def _replicas(load: Prepared, model: StepModel, count: int) -> list[Replica]:
    """Return replicas, which requests reach late."""
    return [
        Replica(
            index, _engine(load, model, noise, clock := LateClock()), clock, Draws(noise.lag, 0.0)
        )
        for index, noise in enumerate(_noises(load, model, count))
    ]


def _noises(load: Prepared, model: StepModel, servers: int) -> Sequence[Noise]:
    return model.noises(stream(load.scenario.seed, "step times"), servers)


def _engine(load: Prepared, model: StepModel, noise: Noise, clock: LateClock) -> Engine:
    options = load.scenario.engine
    priorities = {name: route.priority for name, route in load.routes.items()}
    return Engine.of(
        options,
        ModeledRunner(model, clock, Factors(noise), options.slots),
        clock,
        priorities={name: level for name, level in priorities.items() if level is not None},
        prefill_tokens=_prefill_tokens(load, model),
    )
