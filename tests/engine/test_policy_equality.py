"""No order of the queue and no preemption changes a greedy token: they are those of generate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import families
import numpy as np
from greedy import MAX_LENGTH, SLOTS, Ticking, expected, ragged_requests
from queueing import POLICIES, queue
from transformers import PreTrainedModel

from llmbench.engine.buckets import Buckets, doublings
from llmbench.engine.engine import Engine
from llmbench.engine.kv_cache import KvCache
from llmbench.engine.runner import TorchRunner
from llmbench.engine.sampling import Greedy
from llmbench.loads.clock import VirtualClock
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request

BUCKETS = Buckets(range(1, SLOTS * MAX_LENGTH), (1, 2, 3), doublings(32, MAX_LENGTH))
SPACING = 4.0  # seconds, which are steps: more arrive than can be served


def requests() -> list[Request]:
    """The ragged requests, of which every other one is a chat, in two sessions."""
    return [
        replace(request, request_class=("batch", "chat")[number % 2], session=number % 3 or None)
        for number, request in enumerate(ragged_requests())
    ]


def served(
    runner: TorchRunner, policy: dict[str, Any], kv_tokens: int | None = None
) -> list[Record]:
    clock = VirtualClock()
    engine = Engine(
        Ticking(runner, clock),
        clock,
        slots=SLOTS,
        queue=queue(policy),
        keep_outputs=True,
        kv_tokens=kv_tokens,
    )
    due = Scheduled(np.arange(0.0, SPACING * len(requests()), SPACING))
    return engine.serve(Dispatch(requests(), due, Stop(requests=len(requests()))))


def test_every_policy_gives_the_tokens_of_generate(model: PreTrainedModel, family: str) -> None:
    runner = TorchRunner(model, KvCache.allocate(model, SLOTS, MAX_LENGTH), Greedy(), BUCKETS)
    orders = set()
    for policy in POLICIES:
        records = served(runner, policy)
        answers = {record.request_id: list(record.output_ids or ()) for record in records}
        assert answers == expected(family), policy
        assert any(record.preemptions for record in records) == policy.get("preempt", False)
        orders.add(tuple(record.request_id for record in sorted(records, key=_started)))
    assert len(orders) > 3  # the policies decide differently


def test_a_budget_of_kv_tokens_changes_no_token(model: PreTrainedModel, family: str) -> None:
    runner = TorchRunner(model, KvCache.allocate(model, SLOTS, MAX_LENGTH), Greedy(), BUCKETS)
    policy = next(policy for policy in POLICIES if policy.get("preempt"))
    records = served(runner, policy, kv_tokens=120)
    assert {r.request_id: list(r.output_ids or ()) for r in records} == expected(family)


def test_preempted_requests_receive_each_token_once() -> None:
    model = families.build("llama")
    runner = TorchRunner(model, KvCache.allocate(model, SLOTS, MAX_LENGTH), Greedy(), BUCKETS)
    policy = next(policy for policy in POLICIES if policy.get("preempt"))
    for record in served(runner, policy):
        assert list(record.token_times) == sorted(set(record.token_times))
        assert set(record.token_counts) == {1}


def _started(record: Record) -> float:
    assert record.started is not None
    return record.started
