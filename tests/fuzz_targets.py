"""The targets of `nox -s fuzz`: what reads files and bytes that others wrote.

The contract of a target: within LIMIT_SECONDS it reads an input, or raises an LlmbenchError whose
message is short and has no control characters. Samples are in tests/corpus/TARGET/; what follows
the first dot of their names is the kind of the file.
"""

from __future__ import annotations

import os
import signal
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import NoReturn

from response_bytes import fuzz_response

from llmbench.analysis import baseline_file, history
from llmbench.analysis.meters import Layout
from llmbench.analysis.meters.log import read_log
from llmbench.errors import LlmbenchError
from llmbench.models.tokenizing import ByteTokenizer
from llmbench.report import render
from llmbench.report.frames import summary
from llmbench.runs import catalog, store
from llmbench.runs.imports import read_results
from llmbench.scenario import file as scenario_file
from llmbench.workloads.agents import Agents
from llmbench.workloads.dataset import Dataset
from llmbench.workloads.sessions import Sessions
from llmbench.workloads.trace import Trace

CORPUS = Path(__file__).parent / "corpus"
LIMIT_SECONDS, WAITING = 2.0, 10
MAX_MESSAGE = 2000
REQUESTS = 5
STORED_RUN = "fake-r1"


class HangError(Exception):
    """A target took longer than its contract allows."""


class MessageError(Exception):
    """The message of an error is too long, or has control characters."""


@dataclass(frozen=True)
class Target:
    """A function that reads a file."""

    name: str
    read: Callable[[Path], object]

    def samples(self) -> list[tuple[str, bytes]]:
        """Return the files of the corpus: the end of the name, and the content."""
        paths = sorted((CORPUS / self.name).iterdir())
        return [(path.name.partition(".")[2], path.read_bytes()) for path in paths]


def probe(
    target: Target, name: str, content: bytes, folder: Path, limit: float = LIMIT_SECONDS
) -> None:
    """Let a target read a content as a file that ends with ``name``; raise a broken contract."""
    path = folder / f"input.{name}"
    path.write_bytes(content)
    try:
        with limited(limit):
            target.read(path)
    except LlmbenchError as error:
        _check_message(str(error))


def _check_message(message: str) -> None:
    if len(message) > MAX_MESSAGE:
        raise MessageError(f"a message of {len(message):,} characters: {message[:200]}")
    control = [char for char in message if unicodedata.category(char) in ("Cc", "Cs")]
    if set(control) - {"\n"}:
        raise MessageError(f"control characters in a message: {message!r}")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise HangError in the context after seconds of CPU time, or many more of waiting."""

    def end(_: int, frame: FrameType | None) -> NoReturn:
        raise HangError(f"still busy after {seconds:g} s in {frame}")

    timers = {signal.SIGPROF: signal.ITIMER_PROF, signal.SIGALRM: signal.ITIMER_REAL}
    before = {number: signal.signal(number, end) for number in timers}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, seconds * WAITING)
    try:
        yield
    finally:
        for number, timer in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


# -- targets ---------------------------------------------------------------------------------------


def _scenario(path: Path) -> None:
    scenario_file.load(path)


def _overrides(path: Path) -> None:
    """Read one override per line, as on the command line."""
    overrides = os.fsdecode(path.read_bytes().replace(b"\0", b"")).split("\n")
    scenario_file.load(CORPUS / "scenarios" / "every-kind.yaml", overrides)


def _dataset(path: Path) -> None:
    for part in (
        Dataset(Dataset.Options(path=path)),
        Dataset(Dataset.Options(path=path, output_column="said", class_column="kind")),
        Sessions(Sessions.Options(path=path)),
    ):
        try:
            part.check()
            list(islice(part.requests(ByteTokenizer(256), 0), REQUESTS))
        except LlmbenchError as error:
            _check_message(str(error))


def _jobs(path: Path) -> None:
    """Read jobs in each form; their prompts may be as long as the file says, and are not made."""
    for form in ("messages", "mooncake", "otel", "auto"):
        part = Agents(Agents.Options(path=path, format=form))
        try:
            part.check()
            list(islice(part.sequence_lengths(0), REQUESTS))
            part.times()
        except LlmbenchError as error:
            _check_message(str(error))


def _trace(path: Path) -> None:
    part = Trace(Trace.Options(path=path, max_prompt_tokens=100))
    part.check()
    list(islice(part.requests(ByteTokenizer(256), 0), REQUESTS))


def _import(path: Path) -> None:
    read_results(path)


def _meter(path: Path) -> None:
    """Read a log by its columns of power and of energy."""
    for layout in (Layout(), Layout(watts=None, energy="kwh", energy_unit="kWh")):
        try:
            read_log(path, layout)
        except LlmbenchError as error:
            _check_message(str(error))


def _stored_set(path: Path) -> None:
    """Read a whole run set, one of whose files is the input."""
    folder = path.parent / "set"
    places = {"runset.json": folder}
    for file in (*(CORPUS / "stored-sets").glob("whole.*"), path):
        name = file.name.partition(".")[2]
        place = places.get(name, folder / "runs" / STORED_RUN)
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(file.read_bytes())
    stored = store.read(folder)
    summary(stored)
    render(stored, "terminal")
    catalog.entry(folder)


def _baseline(path: Path) -> None:
    summary(baseline_file.read(path))


def _history(path: Path) -> None:
    history.histories(history.read(path))


def _response(path: Path) -> None:
    """Read the bytes of a response, whole and in pieces, as a stream and as a document."""
    fuzz_response(path.read_bytes())


TARGETS = {
    target.name: target
    for target in (
        Target("scenarios", _scenario),
        Target("overrides", _overrides),
        Target("datasets", _dataset),
        Target("jobs", _jobs),
        Target("traces", _trace),
        Target("imports", _import),
        Target("meters", _meter),
        Target("stored-sets", _stored_set),
        Target("baselines", _baseline),
        Target("histories", _history),
        Target("responses", _response),
    )
}
