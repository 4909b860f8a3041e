"""A limit that also ends regular expressions."""

from __future__ import annotations

import re
import signal
import threading

import pytest

from llmbench.quality.time_limit import TookTooLong, time_limit


def test_an_endless_regular_expression_is_ended() -> None:
    with pytest.raises(TookTooLong), time_limit(0.05):
        re.search(r"(a+)+$", "a" * 64 + "b")


def test_the_alarm_is_off_and_the_handler_restored_afterwards() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with time_limit(10):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_thread_other_than_the_main_one_has_no_limit() -> None:
    done: list[str] = []

    def work() -> None:
        with time_limit(1e-6):
            done.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == ["done"]
