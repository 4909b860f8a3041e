"""Virtual token counters: a client's service is what counts, not its number of requests."""

from __future__ import annotations

from typing import Any

from queueing import Simulated, order, queue, sequence

from llmbench.engine.scheduler import ContinuousScheduler

FAIR = {"policy": "fair", "output_weight": 2}


def of_class(name: str, *numbers: int, prompt: int = 10, tokens: int = 1) -> list[Any]:
    return [
        sequence(number, prompt=prompt, tokens=tokens, request_class=name) for number in numbers
    ]


def test_clients_with_equal_prompts_take_turns() -> None:
    assert order(FAIR, *of_class("a", 0, 1, 2), *of_class("b", 10, 11)) == [0, 10, 1, 11, 2]


def test_a_client_with_prompts_of_twice_the_length_gets_half_the_requests() -> None:
    waiting = [*of_class("a", 0, 1, prompt=20), *of_class("b", 10, 11, 12, 13)]
    assert order(FAIR, *waiting) == [0, 10, 11, 1, 12, 13]


def test_output_tokens_count_while_they_are_generated() -> None:
    waiting = queue(FAIR)
    (running,) = of_class("a", 0)
    waiting.add(running, 0.0)
    waiting.take(running)  # 10 for the prompt
    for joining in (*of_class("a", 1), *of_class("b", 10, 11)):
        waiting.add(joining, 0.0)
    waiting.take(waiting.next(0.0))
    assert waiting.next(0.0).request.id == 10  # b was lifted to a's counter, and came later
    waiting.generated([running], [[1, 1]])
    assert waiting.next(0.0).request.id == 10


def test_a_client_that_returns_does_not_catch_up_what_it_never_asked_for() -> None:
    waiting = queue(FAIR)
    for joining in of_class("a", 0, 1, 2, 3, 4):
        waiting.add(joining, 0.0)
    for _ in range(3):
        waiting.take(waiting.next(0.0))  # a has 30
    for joining in of_class("b", 10, 11, 12):
        waiting.add(joining, 0.0)  # lifted to 30
    taken = []
    while waiting:
        taken.append(waiting.next(0.0))
        waiting.take(taken[-1])
    assert [joining.request.id for joining in taken] == [3, 10, 4, 11, 12]


def test_who_comes_to_an_empty_queue_is_lifted_to_the_last_one_that_left() -> None:
    waiting = queue(FAIR)
    (gone,) = of_class("a", 0, prompt=50)
    waiting.add(gone, 0.0)
    waiting.take(gone)
    for joining in (*of_class("b", 10, 11), *of_class("a", 1)):
        waiting.add(joining, 0.0)
    assert waiting.next(0.0).request.id == 10  # both have 50, and b came first
    waiting.take(waiting.next(0.0))
    assert waiting.next(0.0).request.id == 1


def test_a_request_outside_sessions_is_a_session_of_its_own() -> None:
    by_session = {"policy": "fair", "by": "session"}
    waiting = [sequence(0, session=1), sequence(1, session=1), sequence(2), sequence(3)]
    assert order(by_session, *waiting) == [0, 2, 3, 1]


def test_a_greedy_client_is_held_to_its_share() -> None:
    """While both wait, their service differs by a bound that is independent of the time.

    Sheng et al., 2024, Theorem 4.4: at most 2 max(w_p × longest prompt, w_q × tokens in a batch).
    """
    greedy = [
        sequence(number, prompt=8, tokens=16, request_class="greedy", sent=0.1 * number)
        for number in range(400)
    ]
    modest = [
        sequence(1000 + number, prompt=8, tokens=16, request_class="modest", sent=6.0 * number)
        for number in range(60)
    ]
    simulated = Simulated(ContinuousScheduler(4, queue=queue(FAIR)))
    simulated.run([*greedy, *modest])
    begin, end = 20.0, 300.0  # both wait throughout
    service = {"greedy": 0, "modest": 0}
    for done in simulated.finished:
        name = str(done.request.request_class)
        times = [time for time in done.token_times if begin <= time < end]
        service[name] += 2 * len(times) + (8 if begin <= done.token_times[0] < end else 0)
    assert abs(service["greedy"] - service["modest"]) <= 2 * max(8, 2 * 4 * 24)
    assert service["modest"] > 500
