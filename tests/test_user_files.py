"""No file, however damaged, ends in anything but a short and printable message."""

from __future__ import annotations

import time
from random import Random

import pytest
from user_files import KINDS, Kind, mutated

from llmbench.errors import MAX_MESSAGE, InputError

FEW, MANY = 150, 3000


def refusal(kind: Kind, data: bytes, suffix: str) -> str:
    try:
        kind.read(data, suffix)
    except InputError as error:
        return str(error)
    return ""


def check(name: str, count: int, seed: int) -> float:
    """Read mutated files of a kind; return the time of the slowest in seconds."""
    kind, random, slowest = KINDS[name], Random(seed), 0.0  # noqa: S311
    for _ in range(count):
        sample, suffix = random.choice(kind.samples)
        began = time.monotonic()
        message = refusal(kind, mutated(sample, random), suffix)
        slowest = max(slowest, time.monotonic() - began)
        assert len(message) <= MAX_MESSAGE
        assert message.replace("\n", "").isprintable()
    return slowest


@pytest.mark.parametrize("name", KINDS)
def test_samples_are_read(name: str) -> None:
    refusals = [refusal(KINDS[name], *sample) for sample in KINDS[name].samples]
    unread = [message for message in refusals if message]
    assert [message for message in unread if "has no per-request records" not in message] == []


@pytest.mark.parametrize("name", KINDS)
def test_mutated_files_are_read_or_refused(name: str) -> None:
    check(name, FEW, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_many_mutated_files_are_read_or_refused_in_time(name: str) -> None:
    assert check(name, MANY, seed=1) < 2
