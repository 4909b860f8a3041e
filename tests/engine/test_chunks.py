"""Steps of split prompts, reused prefixes and dynamic batches, on the virtual clock.

Every step takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmbench.engine.engine import Engine
from llmbench.loads.clock import VirtualClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch, Limit
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Patience, Request


class Chunked:
    """A runner that notes its steps: {slot: (start, tokens)} for prefills, slots for decodes."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.steps: list[Any] = []

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        return self.prefill_chunks([slot], [prompt], [0])[0]

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        return self.prefill_chunks(slots, prompts, [0] * len(slots))

    def prefill_chunks(
        self, slots: Sequence[int], chunks: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> list[int]:
        self.clock.advance(1.0)
        spans = zip(starts, map(len, chunks), strict=True)
        self.steps.append(dict(zip(slots, spans, strict=True)))
        return [7] * len(slots)

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        return sum(prompts)

    def computed_chunks(self, chunks: Sequence[int], starts: Sequence[int]) -> int:  # noqa: ARG002
        return sum(chunks)

    def copy_prefix(self, source: int, slot: int, length: int) -> None:
        self.steps.append(("copy", source, slot, length))

    def exchange(self, first: int, second: int, length: int) -> None:
        self.steps.append(("exchange", first, second, length))

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        self.clock.advance(1.0)
        self.steps.append(tuple(slots))
        return [[7] for _ in slots]


def request(number: int, prompt: int | tuple[int, ...], tokens: int, **more: Any) -> Request:
    ids = prompt if isinstance(prompt, tuple) else tuple(range(1, prompt + 1))
    return Request(number, ids, tokens, **more)


def served(
    *requests: Request, due: Sequence[float] = (), slots: int = 2, **engine: Any
) -> tuple[list[Any], list[Record]]:
    """Serve requests, by default all at once; return the steps and the records by id."""
    clock = VirtualClock()
    runner = Chunked(clock)
    times = Scheduled(np.array(due or [0.0] * len(requests)))
    dispatch = Dispatch(requests, times, Stop(requests=len(requests)))
    records = Engine(runner, clock, slots=slots, **engine).serve(dispatch)
    return runner.steps, sorted(records, key=lambda record: record.request_id)


def test_a_decode_step_of_the_running_batch_follows_every_chunk() -> None:
    steps, (_, long) = served(
        request(0, 2, 6), request(1, 10, 2), due=[0, 0.5], prefill_chunk=4, prefill_tokens=4
    )
    assert steps == [
        {0: (0, 2)},
        (0,),
        {1: (0, 4)},
        (0,),
        {1: (4, 4)},
        (0,),
        {1: (8, 2)},
        (0, 1),
        (0,),
    ]
    assert (long.started, long.token_times) == (2.0, (7.0, 8.0))


def test_chunks_follow_each_other_if_nothing_decodes() -> None:
    steps, _ = served(request(0, 10, 1), prefill_chunk=4)
    assert steps == [{0: (0, 4)}, {0: (4, 4)}, {0: (8, 2)}]


def test_a_prompt_that_fits_is_not_split_and_the_default_splits_none() -> None:
    assert served(request(0, 4, 1), prefill_chunk=4)[0] == [{0: (0, 4)}]
    assert served(request(0, 10, 1))[0] == [{0: (0, 10)}]


def test_short_prompts_share_a_step_within_the_budget_also_with_the_last_chunk() -> None:
    steps, _ = served(
        request(0, 6, 1), request(1, 2, 1), request(2, 2, 1),
        slots=3, prefill_chunk=4, prefill_tokens=64,
    )  # fmt: skip
    assert steps == [{0: (0, 4)}, {0: (4, 2), 1: (0, 2)}, {0: (0, 2)}]


def test_a_user_who_gives_up_between_chunks_frees_the_slot() -> None:
    steps, (gone, other) = served(
        request(0, 12, 2, patience=Patience(after=1.5)), request(1, 2, 1),
        slots=1, prefill_chunk=4,
    )  # fmt: skip
    assert steps == [{0: (0, 4)}, {0: (4, 4)}, {0: (0, 2)}]
    assert (gone.finish, gone.abandoned_at, gone.token_times) == ("abandoned", 1.5, ())
    assert (other.started, other.token_times) == (2.0, (3.0,))


def test_a_static_batch_stays_open_while_a_prompt_is_split() -> None:
    steps, _ = served(
        request(0, 2, 4), request(1, 8, 2), batching="static", prefill_chunk=4, prefill_tokens=1
    )
    assert steps == [{0: (0, 2)}, (0,), {1: (0, 4)}, (0,), {1: (4, 4)}, (0, 1)]


def test_a_session_prefills_only_what_its_slot_does_not_hold() -> None:
    steps, (first, second) = served(
        request(0, (1, 2, 3), 2), request(1, (1, 2, 3, 7, 7, 4), 1), due=[0, 9], prefix_cache=True
    )
    assert steps == [{0: (0, 3)}, (0,), {0: (4, 2)}]
    assert (first.cached_tokens, second.cached_tokens) == (0, 4)


def test_a_running_request_gives_its_prefix_and_tokens_so_far() -> None:
    steps, (_, second) = served(
        request(0, (1, 2, 3), 9), request(1, (1, 2, 3, 7, 4), 1), due=[0, 1.5], prefix_cache=True
    )
    assert steps[:4] == [{0: (0, 3)}, (0,), ("copy", 0, 1, 4), {1: (4, 1)}]
    assert second.cached_tokens == 4


def test_without_prefix_reuse_nothing_is_known_of_cached_tokens() -> None:
    assert served(request(0, 3, 1))[1][0].cached_tokens is None


def test_a_dynamic_batch_starts_when_its_oldest_request_has_waited() -> None:
    steps, records = served(
        request(0, 2, 2), request(1, 2, 2), due=[1.0, 2.0],
        slots=4, batching="dynamic", batch_wait=2.5, prefill_tokens=8,
    )  # fmt: skip
    assert steps == [{0: (0, 2), 1: (0, 2)}, (0, 1)]
    assert [record.started for record in records] == [3.5, 3.5]


def test_a_dynamic_batch_starts_when_it_is_full() -> None:
    _, records = served(
        request(0, 2, 2), request(1, 2, 2), due=[1.0, 2.0],
        batching="dynamic", batch_wait=60.0, prefill_tokens=8,
    )  # fmt: skip
    assert [record.started for record in records] == [2.0, 2.0]


def test_no_request_joins_a_dynamic_batch_that_decodes() -> None:
    _, records = served(
        request(0, 2, 4), request(1, 2, 1), due=[0.0, 2.5], batching="dynamic", batch_wait=1.0
    )
    assert [record.started for record in records] == [1.0, 5.0]


def test_a_request_that_was_due_during_a_batch_waits_from_then_on() -> None:
    _, records = served(
        request(0, 2, 2), request(1, 2, 1), due=[0.0, 2.5],
        slots=2, batching="dynamic", batch_wait=1.0,
    )  # fmt: skip
    assert [record.started for record in records] == [1.0, 3.5]


def test_requests_of_a_started_batch_do_not_wait_again_when_the_first_has_ended() -> None:
    _, records = served(
        request(0, 2, 1), request(1, 2, 1), request(2, 2, 1), due=[0, 0, 0.5],
        slots=3, batching="dynamic", batch_wait=60.0,
    )  # fmt: skip
    assert [record.started for record in records] == [0.5, 1.5, 2.5]


def test_a_later_request_waits_for_a_batch_of_its_own() -> None:
    _, records = served(
        request(0, 2, 1), request(1, 2, 1), due=[0.0, 9.0], batching="dynamic", batch_wait=1.0
    )
    assert [record.started for record in records] == [1.0, 10.0]


def test_a_closed_loop_goes_on_when_a_batch_is_due() -> None:
    clock = VirtualClock()
    runner = Chunked(clock)
    engine = Engine(runner, clock, slots=4, batching="dynamic", batch_wait=1.0)
    arrivals = Closed(Closed.Options(concurrency=1)).arrivals(
        Stop(requests=2), np.random.default_rng(0)
    )
    requests = [request(0, 2, 1), request(1, 2, 1)]
    records = engine.serve(Dispatch(requests, arrivals, Stop(requests=2), Limit()))
    assert [record.started for record in records] == [1.0, 3.0]


def test_a_user_who_gives_up_while_a_batch_fills_leaves_at_that_moment() -> None:
    _, (gone, other) = served(
        request(0, 2, 1, patience=Patience(after=1.0)), request(1, 2, 1), due=[0.0, 0.5],
        slots=4, batching="dynamic", batch_wait=3.0,
    )  # fmt: skip
    assert (gone.finish, gone.abandoned_at) == ("abandoned", 1.0)
    assert other.started == 3.5
