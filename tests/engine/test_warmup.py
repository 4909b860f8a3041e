"""The warm-up ends when nothing compiles and step times are steady, or at its bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from llmbench.engine.buckets import Buckets
from llmbench.engine.warmup import MAX_ROUNDS, Warmup, prefills, warm_up
from llmbench.loads.clock import VirtualClock


def taking(clock: VirtualClock, seconds: list[float]) -> Callable[[], None]:
    """Return a step that takes these seconds call by call, and then the last of them."""

    def durations() -> Iterator[float]:
        yield from seconds
        while True:
            yield seconds[-1]

    calls = durations()
    return lambda: clock.advance(next(calls))


def warmed(*seconds: list[float], graphs: list[int] | None = None) -> Warmup:
    clock = VirtualClock()
    counts = iter(graphs or [])
    steps = {f"step {i}": taking(clock, times) for i, times in enumerate(seconds)}
    return warm_up(steps, lambda: next(counts, 0), clock.now)


def test_a_warm_up_describes_its_steps_at_most_once_a_second() -> None:
    clock, stages = VirtualClock(), list[str]()
    steps = {name: taking(clock, [2.0, 0.6]) for name in ("prefill 4", "decode 1 x 16")}
    warm_up(steps, lambda: 0, clock.now, stages.append)
    assert stages == [
        "warming up: round 1, step 1 of 2; first calls may compile, which is slow",
        "warming up: round 1, step 2 of 2, 2.00 s a step; first calls may compile, which is slow",
        "warming up: round 2, step 1 of 2",
        "warming up: round 3, step 1 of 2",
    ]


class Recording:
    """A runner that keeps the prompts of its prefills, and that prefills two together."""

    def __init__(self) -> None:
        self.prompts: list[list[int]] = []

    def prefill(self, slot: int, prompt: Sequence[int]) -> int:
        self.prompts.append([slot, len(prompt)])
        return 1

    def prefill_batch(self, slots: Sequence[int], prompts: Sequence[Sequence[int]]) -> list[int]:
        self.prompts.append([*slots, *map(len, prompts)])
        return [1] * len(slots)

    def computed_tokens(self, prompts: Sequence[int]) -> int:
        return sum(prompts)

    def decode(self, slots: Sequence[int]) -> list[list[int]]:
        return [[1] for _ in slots]

    def pretend(self, rows: int, length: int) -> None:
        pass


def test_prefills_are_of_single_prompts_and_then_of_several_that_are_no_longer() -> None:
    runner = Recording()
    steps = prefills(runner, Buckets((4, 9), (1,), (16,)), totals=[7, 26])
    for step in steps.values():
        step()
    assert list(steps) == ["prefill 4", "prefill 9", "prefill 7 together", "prefill 26 together"]
    assert runner.prompts == [[0, 4], [0, 9], [0, 1, 3, 4], [0, 1, 2, 8, 9, 9]]


def test_steady_steps_need_three_rounds() -> None:
    warmup = warmed([0.1])
    assert (len(warmup.rounds), warmup.steady) == (3, True)


def test_it_continues_until_step_times_are_steady() -> None:
    assert len(warmed([8.0, 4.0, 2.0, 1.0, 0.5]).rounds) == 6


def test_it_continues_while_graphs_are_compiled() -> None:
    counts = [0, 1, 1, 1, 1, 2, 2, 2]
    assert len(warmed([0.1], graphs=counts).rounds) == 4


def test_unsteady_times_end_at_the_bound() -> None:
    warmup = warmed([float(2**n) for n in range(20, 0, -1)])
    assert (len(warmup.rounds), warmup.steady) == (MAX_ROUNDS, False)


def test_compile_time_is_that_of_first_calls_in_excess_of_last_ones() -> None:
    warmup = warmed([5.0, 1.0], [3.0, 0.5])
    assert warmup.compile_seconds == pytest.approx(6.5)
    assert warmup.first_token_seconds == pytest.approx(5.0)


def test_every_step_time_is_kept() -> None:
    assert warmed([2.0, 1.0]).steps == pytest.approx((2.0, 1.0, 1.0))
