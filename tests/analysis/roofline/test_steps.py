"""Steps are reconstructed from the stamps of tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from analysis.roofline.test_work import COSTS, FULL, ints
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.roofline.steps import Steps
from llmbench.analysis.roofline.work import Work
from llmbench.runs.record import Record
from llmbench.runs.run import records_table

ALL = (0.0, 100.0)


def record(number: int, prompt: int, started: float, *times: float, **more: Any) -> Record:
    plain: dict[str, Any] = {
        "request_id": number, "phase": "measured", "due": started, "sent": started,
        "started": started, "token_times": times, "token_counts": (1,) * len(times),
        "prompt_tokens": prompt, "max_new_tokens": 9, "finish": "length",
    }  # fmt: skip
    return Record(**{**plain, **more})


# The first is prefilled and decodes alone; the second joins it at 3.5 and ends after it.
TWO = [record(0, 4, 0.5, 1.0, 2.0, 4.0, 5.0), record(1, 7, 2.25, 3.5, 4.0, 5.0, 6.0)]


def steps_of(*records: Record) -> Steps:
    return Steps(records_table(list(records)))


def test_a_decode_step_begins_at_the_stamp_before_it_and_has_one_row_per_token() -> None:
    # steps at 2 (one row), 4 and 5 (two), 6 (one); that at 4 follows a prefill stamped at 3.5
    work = steps_of(*TWO).decode(COSTS, ALL)
    assert (work.steps, work.seconds) == (4, 1.0 + 0.5 + 1.0 + 1.0)
    expected = COSTS.decode(4, 3.5, ints(5, 8), ints(7, 10))
    assert work == expected


def test_only_steps_that_begin_and_end_inside_the_window_count() -> None:
    # the first stamp inside, 3.5, begins the step at 4; that at 5 ends with the window
    work = steps_of(*TWO).decode(COSTS, (2.5, 5.0))
    assert work == COSTS.decode(1, 0.5, ints(6, 8), ints(6, 8))


def test_idle_time_is_not_part_of_a_decode_step() -> None:
    idle = [record(0, 4, 0.0, 1.0, 2.0), record(1, 4, 50.0, 51.0, 52.0)]
    assert steps_of(*idle).decode(COSTS, ALL).seconds == 2.0


def test_a_prefill_takes_from_its_start_to_its_token() -> None:
    work = steps_of(*TWO).prefill(COSTS, ALL)
    assert work == COSTS.prefill(2, 0.5 + 1.25, ints(4, 7))


def test_prompts_that_share_a_prefill_share_its_time_and_weights() -> None:
    together = [record(n, prompt, 0.5, 1.0, 2.0) for n, prompt in enumerate((4, 7))]
    work = steps_of(*together, record(2, 5, 2.0, 2.25)).prefill(COSTS, ALL)
    assert work == COSTS.prefill(2, 0.5 + 0.25, ints(4, 7, 5))
    assert steps_of(*together).peak_cached_positions() == 5 + 8


def test_a_prefill_that_began_before_the_window_does_not_count() -> None:
    assert steps_of(*TWO).prefill(COSTS, (1.0, 100.0)) == COSTS.prefill(1, 1.25, ints(7))


def test_warm_up_requests_are_part_of_the_steps() -> None:
    early = [replace(TWO[0], phase="warmup"), TWO[1]]
    assert steps_of(*early).decode(COSTS, ALL) == steps_of(*TWO).decode(COSTS, ALL)


def test_requests_without_a_token_took_part_in_no_step() -> None:
    dropped = replace(record(2, 9, 0.0, finish="error"), started=None, sent=None)
    assert steps_of(*TWO, dropped).decode(COSTS, ALL) == steps_of(*TWO).decode(COSTS, ALL)
    nothing = steps_of(dropped)
    assert nothing.decode(COSTS, ALL) == Work(0, 0.0, 0.0, 0.0)
    assert nothing.prefill(COSTS, ALL).steps == 0
    assert nothing.peak_cached_positions() == 0


def test_an_answer_of_one_token_has_no_decode_step() -> None:
    assert steps_of(record(0, 4, 0.0, 1.0)).decode(COSTS, ALL).steps == 0


def test_the_cache_holds_prompts_and_all_but_the_last_token_of_each_answer() -> None:
    # at 5 the first holds 4 + 3 and leaves, the second 7 + 2
    assert steps_of(*TWO).peak_cached_positions() == 7 + 9
    assert steps_of(TWO[0]).peak_cached_positions() == 7
    assert steps_of(record(0, 4, 0.0, 1.0)).peak_cached_positions() == 4


def test_a_freed_slot_no_longer_counts() -> None:
    one_by_one = [record(i, 4, 10.0 * i, 10 * i + 1.0, 10 * i + 2.0) for i in range(5)]
    assert steps_of(*one_by_one).peak_cached_positions() == 5


def served(prompts: list[int], answers: list[int], slots: int) -> list[Record]:
    """Return the records of an engine whose steps take one second, prefills first."""
    waiting = list(enumerate(zip(prompts, answers, strict=True)))
    running: dict[int, int] = {}
    times: dict[int, list[float]] = {number: [] for number, _ in waiting}
    started: dict[int, float] = {}
    now = 0.0
    while waiting or running:
        now += 1.0
        if waiting and len(running) < slots:
            number, (_, answer) = waiting.pop(0)
            started[number] = now - 1.0
            running[number] = answer
            stepped = [number]
        else:
            stepped = list(running)
        for number in stepped:
            times[number].append(now)
            running[number] -= 1
        running = {number: left for number, left in running.items() if left}
    return [record(n, prompts[n], started[n], *times[n]) for n in range(len(prompts))]


lengths = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=8)


def decoded_at(now: float, records: list[Record]) -> list[int]:
    """Return the positions that each row decoding at that time attends to."""
    rows = (r for r in records if now in r.token_times[1:])
    return [(r.prompt_tokens or 0) + r.token_times.index(now) for r in rows]


@given(lengths, st.integers(1, 4), st.floats(0, 20), st.floats(0, 40))
def test_decode_steps_equal_a_walk_through_the_stamps(
    drawn: list[tuple[int, int]], slots: int, begin: float, span: float
) -> None:
    prompts, answers = map(list, zip(*drawn, strict=True))
    records = served(prompts, answers, slots)
    costs = replace(COSTS, layers=(FULL, replace(FULL, window=5)))
    window = (begin, begin + span)
    stamps = sorted({t for r in records for t in r.token_times if window[0] <= t < window[1]})
    decodes = [depths for now in stamps[1:] if (depths := decoded_at(now, records))]
    work = Steps(records_table(records)).decode(costs, window)
    assert (work.steps, work.seconds) == (len(decodes), float(len(decodes)))
    single = [costs.decode(1, 1.0, ints(*depths), ints(*depths)) for depths in decodes]
    assert work.moved_bytes == pytest.approx(sum(one.moved_bytes for one in single))
    assert work.flops == pytest.approx(sum(one.flops for one in single))


@given(lengths, st.integers(1, 4))
def test_the_most_cached_positions_equal_a_walk_through_the_stamps(
    drawn: list[tuple[int, int]], slots: int
) -> None:
    prompts, answers = map(list, zip(*drawn, strict=True))
    records = served(prompts, answers, slots)
    held = [
        sum(
            (r.prompt_tokens or 0) + int(np.searchsorted(r.token_times, now, side="right")) - 1
            for r in records
            if r.token_times[0] <= now <= r.token_times[-1]
        )
        for now in sorted({t for r in records for t in r.token_times})
    ]
    assert Steps(records_table(records)).peak_cached_positions() == max(held)
