"""Child processes and what they exchange with their parent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from newest_child import newest_child

from llmbench.environment import child_process
from llmbench.environment.child_process import Channel, Child, ready

TESTS = Path(__file__).parents[1]


@contextmanager
def echoing(**job: Any) -> Iterator[Child]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with child_process.start("echoing", job, environment=environment) as child:
        yield child


@dataclass(frozen=True)
class Point:
    x: float
    label: str | None = None


@pytest.fixture
def loop() -> Iterator[Channel]:
    """Yield a channel whose messages come back to it."""
    incoming, outgoing = os.pipe()
    yield Channel(incoming, outgoing)
    os.close(incoming)
    os.close(outgoing)


def test_messages_come_back_in_order_and_with_their_types() -> None:
    with echoing(messages=[{"x": 0.1}, {"x": 2, "label": "two\nlines"}]) as child:
        assert child.receive(Point) == Point(0.1)
        assert child.receive(Point) == Point(2.0, "two\nlines")
        assert child.wait() == 0


def test_a_message_may_be_larger_than_a_pipe() -> None:
    values = list(range(300_000))
    with echoing(messages=[values, "end"]) as child:
        assert child.receive(list[int]) == values
        assert child.receive(str) == "end"


def test_what_libraries_print_is_no_message() -> None:
    with echoing(messages=[1], printed="hello from a library") as child:
        assert child.receive(int) == 1


def test_a_child_that_has_ended_is_seen_by_who_receives() -> None:
    with echoing(exit_code=3) as child:
        assert child.poll(60)
        with pytest.raises(EOFError):
            child.receive(int)
        assert child.wait() == 3
        child.send("nobody reads this")


def test_a_child_ends_with_the_block() -> None:
    with echoing(messages=[os.getpid()] * 100_000):  # more than a pipe holds, and nobody reads it
        guardian = newest_child()
        family = [guardian, *guardian.children(recursive=True)]
    assert len(family) == 2  # the child and its guardian
    assert not any(process.is_running() for process in family)


def test_a_child_knows_who_started_it() -> None:
    with echoing(parent=True) as child:
        assert child.receive(int) == os.getpid()


def test_no_module_is_imported_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "msgspec.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path)
    with echoing(messages=[1]) as child:
        assert child.receive(int) == 1


def test_numpy_travels_as_plain_data(loop: Channel) -> None:
    loop.send({"array": np.array([0.5, 1.5]), "scalar": np.float64(2.5)})
    assert loop.receive(dict[str, Any]) == {"array": [0.5, 1.5], "scalar": 2.5}


def test_bulk_data_travel_between_messages(loop: Channel) -> None:
    loop.send("before")
    loop.send_bytes(b"\n\x00 bulk")
    loop.send("after")
    assert loop.receive(str) == "before"
    assert loop.receive_bytes() == b"\n\x00 bulk"
    assert loop.receive(str) == "after"


def test_a_generator_goes_on_where_it_was(loop: Channel) -> None:
    rng = np.random.default_rng(7)
    rng.random(3)
    loop.send(rng)
    copy = loop.receive(np.random.Generator)
    assert copy.random(4).tolist() == rng.random(4).tolist()


def test_what_is_no_data_is_refused(loop: Channel) -> None:
    with pytest.raises(NotImplementedError, match="a message cannot contain PosixPath"):
        loop.send(TESTS)


def test_a_message_that_has_been_read_is_ready(loop: Channel) -> None:
    assert not loop.poll(0)
    loop.send(1)
    loop.send(2)
    assert loop.receive(int) == 1
    assert ready([loop], 0) == [loop]
    assert loop.receive(int) == 2
    assert not loop.poll(0)
