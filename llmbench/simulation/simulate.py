"""A simulated run: the load, dispatch, scheduler and balancer of a case on a virtual clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llmbench.backends.base import BACKENDS
from llmbench.campaign.prepare import Prepared, prepare
from llmbench.engine.engine import Engine
from llmbench.errors import InputError
from llmbench.loads.clock import VirtualClock
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.run import CLOCK_ORIGIN, Run, records_table
from llmbench.scenario.cases import Case
from llmbench.scenario.rng import stream
from llmbench.scenario.schema import Scenario
from llmbench.simulation.draws import Draws, Noise
from llmbench.simulation.replicated import Balanced, Replica
from llmbench.simulation.step_times import IN_PROCESS, StepModel
from llmbench.simulation.virtual import LateClock, ModeledRunner


def simulate(case: Case, step_times: StepModel, *, replicas: int, repeat: int = 1) -> Run:
    """Return a run of a case whose steps take the times of a model, with a number of replicas.

    The load is that of the repeat with this number. Raises InputError if the case has no engine of
    llmbench, or its answers end by themselves.
    """
    _check(case)
    spec = case.spec_of(repeat)
    seeded = Case.of(Scenario.model_validate(spec), case.point, case.name)
    load = prepare(seeded, Path())
    records = list(_served(load, step_times, replicas))
    return Run(
        case=case,
        repeat=repeat,
        began_at=datetime.now(UTC).isoformat(timespec="seconds"),
        records=records_table(records),
        facts=_facts(load, replicas),
        caveats=(Caveat("simulated", replicas=replicas), *load.caveats),
    )


def _check(case: Case) -> None:
    """Raise InputError if a case cannot be simulated."""
    if not BACKENDS.find(case.backend).has_engine:
        raise InputError(
            f"backends: `{case.backend_name}` has a scheduler of its own, which llmbench does not "
            "know; simulate a local backend such as `eager`"
        )
    if case.scenario.stop_at_eos:
        raise InputError(
            "stop_at_eos: a simulation does not know where answers end; set it to false"
        )


def _facts(load: Prepared, replicas: int) -> dict[str, Any]:
    return {
        CLOCK_ORIGIN: None,
        "schedule_sha256": load.digest,
        **load.dispatch.facts,
        "simulated": {"replicas": replicas},
    }


def _served(load: Prepared, model: StepModel, replicas: int) -> Iterator[Record]:
    """Yield the records of a load: of requests that were served, and of those that were not."""
    scenario, dispatch = load.scenario, load.dispatch
    if replicas == 1 and not scenario.replicas:
        yield from alone(load, model.of(IN_PROCESS)).serve(dispatch)
    else:
        policy = scenario.replicas.balance if scenario.replicas else "round-robin"
        servers = [replica(load, model.of(replicas), index) for index in range(replicas)]
        yield from Balanced(servers, policy, scenario.seed, dispatch).serve()
    yield from dispatch.summary.unsent_records()


def alone(load: Prepared, model: StepModel) -> Engine:
    """Return the engine of a backend without replicas: it sees requests late only when it waits."""
    noise = _noise(load, model, 0)
    return _engine(load, model, noise, LateClock(lags=Draws(noise.lag, 0.0)))


def replica(load: Prepared, model: StepModel, index: int) -> Replica:
    """Return a replica, which requests reach late."""
    noise, clock = _noise(load, model, index), VirtualClock()
    engine = _engine(load, model, noise, clock)
    return Replica(index, engine, clock, Draws(noise.lag, 0.0))


def _noise(load: Prepared, model: StepModel, index: int) -> Noise:
    return model.noise(stream(load.scenario.seed, f"step times {index}"))


def _engine(load: Prepared, model: StepModel, noise: Noise, clock: VirtualClock) -> Engine:
    options = load.scenario.engine
    factors = Draws(noise.prefill, 1.0), Draws(noise.decode, 1.0)
    tokens = options.prefill_tokens
    priorities = {name: route.priority for name, route in load.routes.items()}
    return Engine.of(
        options,
        ModeledRunner(model, clock, *factors, options.slots),
        clock,
        priorities={name: level for name, level in priorities.items() if level is not None},
        prefill_tokens=model.prefill_tokens if tokens == "auto" else tokens,
    )
