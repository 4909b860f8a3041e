"""Messages are printable and bounded, whatever is in them."""

from __future__ import annotations

import errno

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbench.errors import (
    MAX_MESSAGE,
    MAX_VALUE,
    FileError,
    InputError,
    LlmbenchError,
    MeasurementError,
    ScenarioError,
    one_line,
    printable,
    ran_out,
    shown,
)


def test_a_message_has_the_location_what_was_found_what_was_expected_and_what_to_do() -> None:
    error = FileError("a.csv:3", "found 5", "text", "quote it")
    assert str(error) == "a.csv:3: found 5; expected text; quote it"


def test_several_errors_become_one_with_the_first_five() -> None:
    errors = [FileError(f"a.csv:{line}", "found 5") for line in range(7)]
    lines = str(FileError.of_all(errors)).splitlines()
    assert lines == [f"a.csv:{line}: found 5" for line in range(5)] + ["and 2 more"]


def test_control_characters_are_escaped() -> None:
    assert printable("a\x1b[31m\x00\x85\u2028\ud83d\n") == r"a\x1b[31m\x00\x85\u2028\ud83d" + "\n"


def test_the_middle_of_a_long_text_is_cut() -> None:
    assert printable("a" * 50 + "z" * 50, 13) == "aaaaaaaa … zz"


def test_a_value_is_shown_as_python_writes_it() -> None:
    assert [shown(value) for value in ("a\n", 5, None, [1, 2])] == [r"'a\n'", "5", "None", "[1, 2]"]


@given(st.text(st.characters(), min_size=1) | st.integers() | st.lists(st.text(), min_size=9))
def test_any_value_is_shown_on_a_short_line(value: object) -> None:
    assert len(shown(value)) <= MAX_VALUE
    assert shown(value).isprintable()


@given(st.text(st.characters()).map(lambda text: text * 300))
def test_any_message_is_printable_and_bounded(text: str) -> None:
    message = str(FileError(text, text, text, text))
    assert len(message) <= MAX_MESSAGE
    assert message.replace("\n", "").isprintable()


@pytest.mark.parametrize("kind", [InputError, ScenarioError, MeasurementError])
def test_every_error_of_llmbench_has_a_printable_message(kind: type[LlmbenchError]) -> None:
    assert str(kind("red \x1b[31m, a\ttab,\nline 2, \udc80")) == (
        "red \\x1b[31m, a\\ttab,\nline 2, \\udc80"
    )


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = str(InputError(f"file.yaml:3: {'x' * 100_000}; remove it"))
    assert len(message) == MAX_MESSAGE
    assert message.startswith("file.yaml:3: xxx")
    assert message.endswith("xxx; remove it")


def test_one_line_has_no_line_ends() -> None:
    assert one_line("two\nlines\x1b") == "two\\nlines\\x1b"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("bfc_arena.cc:376 Failed to allocate memory for requested buffer of size 9"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        MemoryError(),
    ],
)
def test_errors_of_every_allocator_are_recognized(error: Exception) -> None:
    assert ran_out(error)
