"""Feed mutated files to whatever reads files and bytes of others: `nox -s fuzz`.

    nox -s fuzz -- --minutes 1 --seed 5 --only scenarios

The files of tests/corpus/ are mutated. An input that a reader neither reads nor refuses by its
contract (see `fuzz_targets`) is written to build/fuzz/TARGET/; mend the reader and move the file to
tests/corpus/TARGET/, which the tests replay.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fuzz_targets import TARGETS, HangError, MessageError, Target, probe
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

FINDINGS = Path("build") / "fuzz"
ROUND = 250  # inputs per random seed
MAX_SPAN, MAX_REPEATS, MAX_SIZE = 80, 400, 150_000
MEMORY_BYTES = 4 * 2**30
WORD = re.compile(rb"[\w.+-]+")
TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xed\xa0\x80", b"\x1b[31m",
    b"\n", b"\r", b"\r\n", b"\t", b" ", b'"', b"'", b"\\", b"\\ud800", b"\\u0000", b",", b": ",
    b"- ", b"[", b"]", b"{", b"}", b"#", b"&a ", b"*a", b"<<: ", b"? ", b"!!str ", b"---\n",
    b"null", b"true", b"~", b"[]", b"{}", b'""', b"0", b"-1", b"1.5", b"1e999", b"-1e308", b".inf",
    b"NaN", b"Infinity", b"9223372036854775808", b"9" * 400, b"9" * 5000, b"../../x", b"/dev/zero",
    b"[" * 2000, b'{"a":' * 2000, b"%", b"data: ", b"data: [DONE]\n\n", b"1970-01-01T00:00:00Z",
)  # fmt: skip

Sample = tuple[str, bytes]
Mutation = Callable[[DrawFn, bytes, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Finding:
    """An input that broke the contract of a target, and how."""

    name: str
    content: bytes
    report: str


# -- mutations -------------------------------------------------------------------------------------


def _span(draw: DrawFn, content: bytes) -> tuple[int, int]:
    begin = draw(st.integers(0, len(content)))
    return begin, min(len(content), begin + draw(st.integers(0, MAX_SPAN)))


def _token_for_span(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(draw, content)
    return content[:begin] + draw(st.sampled_from(TOKENS)) + content[end:]


def _token_for_word(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    words = [match.span() for match in WORD.finditer(content)]
    if not words:
        return content
    begin, end = draw(st.sampled_from(words))
    return content[:begin] + draw(st.sampled_from(TOKENS)) + content[end:]


def _inserted(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    begin = draw(st.integers(0, len(content)))
    return content[:begin] + draw(st.sampled_from(TOKENS)) + content[begin:]


def _overwritten(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    begin = draw(st.integers(0, len(content)))
    new = draw(st.binary(min_size=1, max_size=8))
    return content[:begin] + new + content[begin + len(new) :]


def _deleted(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(draw, content)
    return content[:begin] + content[end:]


def _repeated(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    begin, end = _span(draw, content)
    return content[:end] + content[begin:end] * draw(st.integers(1, MAX_REPEATS)) + content[end:]


def _truncated(draw: DrawFn, content: bytes, _: Sequence[bytes]) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


def _spliced(draw: DrawFn, content: bytes, others: Sequence[bytes]) -> bytes:
    other = draw(st.sampled_from(others))
    return content[: draw(st.integers(0, len(content)))] + other[draw(st.integers(0, len(other))) :]


MUTATIONS: tuple[Mutation, ...] = (
    _token_for_span, _token_for_word, _token_for_word, _inserted, _overwritten, _deleted, _repeated,
    _truncated, _spliced,
)  # fmt: skip


@st.composite
def mutated(draw: DrawFn, samples: Sequence[Sample]) -> Sample:
    """Draw a sample with one to five mutations."""
    name, content = draw(st.sampled_from(samples))
    others = [other for other_name, other in samples if other_name == name]
    for _ in range(draw(st.integers(1, 5))):
        content = draw(st.sampled_from(MUTATIONS))(draw, content, others)[:MAX_SIZE]
    return name, content


# -- search ----------------------------------------------------------------------------------------


def explore(
    target: Target, folder: Path, number: int, known: Collection[str], inputs: int = ROUND
) -> dict[str, Finding]:
    """Try mutated samples of a target; return the smallest finding of every kind not ``known``."""
    findings: dict[str, Finding] = {}

    def attempt(sample: Sample) -> None:
        name, content = sample
        try:
            probe(target, name, content, folder)
        except Exception as error:
            kind = kind_of(error)
            if kind in known:
                return
            smallest = findings.get(kind)
            if smallest is None or len(content) < len(smallest.content):
                findings[kind] = Finding(name, content, traceback.format_exc())
            if not isinstance(error, HangError):  # too slow to be made smaller
                raise

    quietly = settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    try:
        quietly(seed(number)(given(mutated(target.samples()))(attempt)))()
    except Exception:
        if not findings:
            raise
    return findings


def kind_of(error: Exception) -> str:
    """Return what findings of one cause have in common: the exception and where it was raised."""
    origin = error.__context__ if isinstance(error, MessageError) else error
    places = traceback.extract_tb((origin or error).__traceback__)
    own = [place for place in places if "llmbench" in place.filename] or places
    return f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno}"


def hunt(target: Target, numbers: Iterator[int], is_over: Callable[[int], bool]) -> int:
    """Explore a target until ``is_over(rounds)``; write and print its findings; return how many."""
    findings: dict[str, Finding] = {}
    rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, content in target.samples():  # imports what the target needs
            probe(target, name, content, Path(folder), limit=60)
        while not is_over(rounds):
            new = explore(target, Path(folder), next(numbers), findings.keys())
            findings |= new
            rounds += 1
            for kind, finding in new.items():
                _print(f"{target.name}: {kind}: {_write(target, finding)}\n{finding.report}")
    _print(f"{target.name}: {rounds * ROUND:,} inputs, {len(findings)} findings")
    return len(findings)


def _write(target: Target, finding: Finding) -> Path:
    digest = hashlib.sha256(finding.content).hexdigest()[:8]
    path = FINDINGS / target.name / f"{digest}.{finding.name}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(finding.content)
    return path


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the targets; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(description="Feed mutated files to everything that reads.")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (10)")
    parser.add_argument("--inputs", type=int, help="per target, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (0)")
    parser.add_argument("--only", action="append", choices=TARGETS, metavar="TARGET",
                        help=f"repeatable: {', '.join(TARGETS)}")  # fmt: skip
    arguments = parser.parse_args(argv)
    names = arguments.only or list(TARGETS)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("error")  # as in the tests
    findings = 0
    for index, name in enumerate(names):
        numbers = count(arguments.seed * 1_000_000 + index * 10_000)
        findings += hunt(TARGETS[name], numbers, _limit(arguments, len(names)))
    return int(findings > 0)


def _limit(arguments: argparse.Namespace, targets: int) -> Callable[[int], bool]:
    """Return whether a target is done after a number of rounds, by inputs or by time."""
    if arguments.inputs is not None:
        return lambda rounds: rounds * ROUND >= arguments.inputs
    end = time.monotonic() + arguments.minutes * 60 / targets
    return lambda _: time.monotonic() >= end


if __name__ == "__main__":
    sys.exit(main())
