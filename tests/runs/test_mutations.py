"""Damaged files are read as far as they can be, or refused with one message; never a traceback."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import mutations
import pytest

LONGEST_SECONDS = 2.0
FEW, MANY = 12, 1500

READERS = [
    mutations.read_damaged_set,
    mutations.read_damaged_baseline,
    mutations.read_damaged_history,
]


def read_all(read: Callable[[int, Path], str], count: int, folder: Path) -> list[str]:
    """Return the messages of damaged files; a seed that fails is named in the error."""
    messages = []
    for seed in range(count):
        (folder / str(seed)).mkdir()
        try:
            messages.append(read(seed, folder / str(seed)))
        except Exception as error:
            raise AssertionError(f"{read.__name__}({seed}, ...)") from error
    return messages


@pytest.mark.parametrize("read", READERS)
def test_a_few_damaged_files_are_read_or_refused(
    read: Callable[[int, Path], str], tmp_path: Path
) -> None:
    assert any(read_all(read, FEW, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("read", READERS)
def test_many_damaged_files_are_read_or_refused(
    read: Callable[[int, Path], str], tmp_path: Path
) -> None:
    began = time.process_time()
    messages = read_all(read, MANY, tmp_path)
    assert time.process_time() - began < MANY * LONGEST_SECONDS
    assert len(set(messages)) > 20
