"""The finished answers of a load, kept in a temporary file instead of memory."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import fields, replace
from operator import attrgetter
from typing import get_type_hints

import msgspec

from llmbench.backends.endpoint.answer import Answer
from llmbench.runs.request import Phase, Request

CHUNK_BYTES = 2**20
SIZE_BYTES = 4  # of the length before each row
FOLDER = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108 (the file has no name; /tmp may be in memory)

_HINTS = get_type_hints(Answer)
_NAMES = [f.name for f in fields(Answer) if f.name != "request"]
_row = attrgetter("request.id", "request.turn", "request.phase", *_NAMES)
_ENCODER = msgspec.msgpack.Encoder(enc_hook=lambda number: number.item())  # NumPy's numbers
_DECODER = msgspec.msgpack.Decoder(
    tuple[(int, int, Phase, *(_HINTS[name] for name in _NAMES))]  # type: ignore[misc]
)


class AnswerLog:
    """Rows of finished answers in chunks, of which only the last is in memory.

    A thread appends complete chunks to a file without a name, which the operating system deletes
    with the process. If that fails, ``held_bytes`` of them stay in memory. A row has all of an
    answer but its request, which is known by its id. ``send_lags`` and ``ttfts`` are in seconds,
    counted from the due time and from sending. ``correct`` is called with each answer that is read,
    such as to bring its times to another clock.
    """

    def __init__(self) -> None:
        self.send_lags, self.ttfts = array("d"), array("d")
        self._last = bytearray()
        self._file: int | None = None
        self.correct: Callable[[Answer], object] = lambda _: None
        self._sizes: list[int] = []
        self._end = 0
        self._held: list[bytes] = []
        self._writer = ThreadPoolExecutor(1)
        self._writes: list[Future[None]] = []

    def add(self, answer: Answer) -> None:
        """Append a finished answer."""
        begin = len(self._last)
        _ENCODER.encode_into(_row(answer), self._last, begin + SIZE_BYTES)
        size = len(self._last) - begin - SIZE_BYTES
        self._last[begin : begin + SIZE_BYTES] = size.to_bytes(SIZE_BYTES, "little")
        self.send_lags.append(answer.begun - answer.due)
        if answer.stamps:
            self.ttfts.append(answer.stamps[0] - answer.begun)
        if len(self._last) >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write all rows so far as a chunk, in the thread."""
        if self._last:
            self._writes.append(self._writer.submit(self.extend, bytes(self._last)))
            self._last.clear()

    def extend(self, chunk: bytes) -> None:
        """Append a chunk of rows, such as one of another log."""
        if not self._held:
            with suppress(OSError):
                self._write(chunk)
                return
        self._held.append(chunk)

    def _write(self, chunk: bytes) -> None:
        if self._file is None:
            self._file = _nameless_file()
            weakref.finalize(self, os.close, self._file)
        begin = written = self._end
        while left := memoryview(chunk)[written - begin :]:
            written += os.pwrite(self._file, left, written)
        self._sizes.append(len(chunk))
        self._end = written

    def close(self) -> None:
        """Wait until all complete chunks are written."""
        self._writer.shutdown()
        for write in self._writes:
            write.result()  # re-raises its exception

    @property
    def held_bytes(self) -> int:
        """The bytes of complete chunks that could not be written."""
        return sum(map(len, self._held))

    def chunks(self) -> Iterator[bytes]:
        """Yield all chunks of a closed log."""
        begin = 0
        for size in self._sizes:
            yield os.pread(self._file or 0, size, begin)
            begin += size
        yield from self._held
        if self._last:
            yield bytes(self._last)


def _nameless_file() -> int:
    with tempfile.TemporaryFile(dir=FOLDER) as file:
        return os.dup(file.fileno())


class LoggedAnswers(Iterable[Answer]):
    """The answers in the logs of a load's clients, read each time that they are iterated over.

    ``requests`` are those of the load, in the order of their ids. In sessions, a turn is restored
    from the response that it continues. The patience of the requests is not restored.
    """

    def __init__(self, logs: Sequence[AnswerLog], requests: Iterable[Request]) -> None:
        self._logs = logs
        self._requests = requests

    def __iter__(self) -> Iterator[Answer]:
        sent = _SentRequests(self._requests)
        for log in self._logs:
            for number, turn, phase, *values in map(_DECODER.decode, _rows(log)):
                request = replace(sent.request(number, turn), phase=phase)
                answer = Answer(request, **dict(zip(_NAMES, values, strict=True)))
                log.correct(answer)
                sent.add(answer)
                yield answer


def _rows(log: AnswerLog) -> Iterator[memoryview]:
    for chunk in log.chunks():
        rows, begin = memoryview(chunk), 0
        while begin < len(rows):
            size = int.from_bytes(rows[begin : begin + SIZE_BYTES], "little")
            begin += SIZE_BYTES + size
            yield rows[begin - size : begin]


class _SentRequests:
    """The requests of answers, which are added in the order in which they were complete."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self._first: dict[int, Request] = {}
        self._continued: dict[int, Answer] = {}

    def request(self, number: int, turn: int) -> Request:
        """Return the request with an id, which is a turn of its session."""
        first = self._first_turn(number - turn)
        if not turn:
            return first
        before = first.turns[turn - 1].continues(turn)
        if before is None:
            return first.fresh_turn(turn)
        answer = self._continued[first.id + before]
        return answer.request.next_turn(turn, (), answer.spoken)

    def _first_turn(self, number: int) -> Request:
        while number not in self._first:
            request = next(self._requests)
            self._first[request.id] = request
        first = self._first[number]
        return first if first.turns else self._first.pop(number)

    def add(self, answer: Answer) -> None:
        """Add an answer, which later turns may continue."""
        if answer.request.is_continued:
            self._continued[answer.request.id] = answer
