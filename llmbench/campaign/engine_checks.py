"""Checks of what a scenario sets for the local engine: its queue, budgets and prefills."""

from __future__ import annotations

from collections.abc import Iterable

from llmbench.backends.base import BACKENDS
from llmbench.engine.scheduler import exceeds_kv_tokens
from llmbench.errors import InputError
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import EngineOptions
from llmbench.workloads.base import Workload

QUEUEING = "requests wait in the queue of"
BATCHING = "prompts are batched and cached by"
USES = {
    "queue": QUEUEING,
    "max_queue": QUEUEING,
    "kv_tokens": QUEUEING,
    "batch_wait": BATCHING,
    "prefill_chunk": BATCHING,
    "prefix_cache": BATCHING,
}
DEFAULTS = {key: getattr(EngineOptions(), key) for key in USES}


def has_engine(case: Case) -> bool:
    """Return whether llmbench's engine queues and batches the requests of a case."""
    return BACKENDS.find(case.backend).has_engine


def check_is_used(cases: Iterable[Case]) -> None:
    """Raise InputError if a setting of the engine concerns none of the backends."""
    used, unused = set(), {}
    for case in cases:
        engine = case.scenario.engine
        keys = [key for key, value in DEFAULTS.items() if getattr(engine, key) != value]
        if has_engine(case):
            used.update(keys)
        else:
            unused.update(dict.fromkeys(keys, case.backend_name))
    for key, backend in unused.items():
        if key not in used:
            raise InputError(
                f"engine.{key}: {USES[key]} the server that the backend "
                f"`{backend}` measures, which llmbench cannot set; remove it, set the server's own "
                "options, or add a local backend such as `eager`"
            )


def check_queue(case: Case, workload: Workload) -> None:
    """Raise InputError if a queue policy does not fit the request classes of a workload."""
    queue = case.scenario.engine.queue
    if not has_engine(case):
        return
    if unknown := [name for name in queue.classes if name not in workload.classes]:
        key = "levels" if queue.policy == "priority" and queue.levels else "weights"
        raise InputError(
            f"engine.queue.{key}: the workload has no requests of class {', '.join(unknown)}; "
            + _known(workload)
        )
    if queue.reads_priorities and not any("priority" in r.given for r in workload.routes.values()):
        raise InputError(
            "engine.queue: the policy priority needs `levels` or `weights` of request classes, or "
            "classes that have a `priority`; " + _known(workload)
        )
    if queue.policy == "fair" and queue.by == "class" and not workload.classes:
        raise InputError(
            "engine.queue: the policy fair has one share for each request class; use `by: "
            "session`, or see `workload: mixed`"
        )


def _known(workload: Workload) -> str:
    if workload.classes:
        return f"the workload has {', '.join(sorted(workload.classes))}"
    return "see `workload: mixed`"


def check_kv_tokens(case: Case, longest: int) -> None:
    """Raise InputError if the longest sequence exceeds the budget of all running ones together."""
    budget = case.scenario.engine.kv_tokens
    if budget is not None and has_engine(case) and longest > budget:
        raise InputError(exceeds_kv_tokens(longest, budget))
