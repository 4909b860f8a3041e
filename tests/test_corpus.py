"""The inputs that fuzzing starts from, and those that it found, are read or refused."""

from __future__ import annotations

from pathlib import Path

import fuzz
import pytest
from fuzz_targets import CORPUS, TARGETS, HangError, MessageError, Target, probe

from llmbench.errors import InputError

SLOW = 60.0  # seconds; how long a busy machine takes is not the test


@pytest.mark.parametrize(
    ("target", "sample"),
    [(target, path.name) for target in TARGETS for path in sorted((CORPUS / target).iterdir())],
)
def test_an_input_of_the_corpus_is_read_or_refused(
    target: str, sample: str, tmp_path: Path
) -> None:
    content = (CORPUS / target / sample).read_bytes()
    probe(TARGETS[target], sample.partition(".")[2], content, tmp_path, SLOW)


def test_the_corpus_is_small() -> None:
    sizes = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert max(sizes) <= 20_000
    assert sum(sizes) <= 400_000


def target(read: object) -> Target:
    return Target("scenarios", read)  # type: ignore[arg-type]


def test_what_breaks_the_contract_is_found_and_made_smaller(tmp_path: Path) -> None:
    def read(path: Path) -> None:
        if b"\0" in path.read_bytes():
            raise KeyError("zero")

    (kind, finding), *others = fuzz.explore(target(read), tmp_path, 1, ()).items()
    assert (kind[:20], others) == ("KeyError in test_cor", [])
    assert b"\0" in finding.content
    assert fuzz.explore(target(read), tmp_path, 1, {kind}) == {}


def test_a_seed_finds_the_same_again(tmp_path: Path) -> None:
    def tried(seed: int) -> list[bytes]:
        inputs: list[bytes] = []
        read = lambda path: inputs.append(path.read_bytes())  # noqa: E731
        fuzz.explore(target(read), tmp_path, seed, (), inputs=20)
        return inputs

    assert tried(1) == tried(1) != tried(2)


@pytest.mark.parametrize("message", ["x" * 2001, "a\0b", "\x1b[31m", "\ud800", "a\tb"])
def test_a_message_that_is_long_or_unprintable_breaks_the_contract(
    message: str, tmp_path: Path
) -> None:
    def read(_: Path) -> None:
        error = InputError("")
        error.args = (message,)
        raise error

    with pytest.raises(MessageError):
        probe(target(read), "any.yaml", b"", tmp_path)


def test_a_hang_breaks_the_contract(tmp_path: Path) -> None:
    def read(_: Path) -> None:
        while True:
            pass

    with pytest.raises(HangError):
        probe(target(read), "any.yaml", b"", tmp_path, limit=0.05)
