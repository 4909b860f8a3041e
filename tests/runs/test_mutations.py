"""Damaged files are read as far as they can be, or refused with one message; never a traceback."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import mutations
import pytest
from fuzz_targets import limited

LIMIT_SECONDS = 2.0  # of CPU time per file
FEW, MANY, PARTS = 12, 1500, 6  # parts, for the processes of pytest-xdist

READERS = [
    mutations.read_damaged_set,
    mutations.read_damaged_baseline,
    mutations.read_damaged_history,
]


def read_all(read: Callable[[int, Path], str], seeds: range) -> list[str]:
    """Return the messages of damaged files; a seed that fails is named in the error."""
    messages = []
    for seed in seeds:
        try:
            with tempfile.TemporaryDirectory() as folder, limited(LIMIT_SECONDS):
                messages.append(read(seed, Path(folder)))
        except Exception as error:
            raise AssertionError(f"{read.__name__}({seed}, ...)") from error
    return messages


@pytest.fixture(scope="module", autouse=True)
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import what the readers need, whose time does not count."""
    for read in READERS:
        read(0, tmp_path_factory.mktemp(read.__name__))


@pytest.mark.parametrize("read", READERS)
def test_a_few_damaged_files_are_read_or_refused(read: Callable[[int, Path], str]) -> None:
    assert any(read_all(read, range(FEW)))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("read", READERS)
def test_many_damaged_files_are_read_or_refused(
    read: Callable[[int, Path], str], part: int
) -> None:
    messages = read_all(read, range(part, MANY, PARTS))
    assert len(messages) == MANY // PARTS
    assert len(set(messages)) > 10
