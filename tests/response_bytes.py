"""Any bytes as the response of a server: read without a socket, and mutated for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import cast

from llmbench.backends.endpoint.connection import Connection
from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.limits import MESSAGE_BYTES
from llmbench.backends.endpoint.loop_lag import LoopLag
from llmbench.loads.clock import VirtualClock
from llmbench.runs.request import Request

PIECE_BYTES = 7

Outcome = tuple[str | None, int | None, list[str], str | None]


@dataclass
class SilentTransport:
    """A transport that keeps what is written and whether it was aborted."""

    written: list[bytes] = field(default_factory=list)
    aborted: bool = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True


def received(parts: Iterable[bytes], *, streamed: bool = True, needs_done: bool = True) -> Exchange:
    """Return an exchange after these parts of a response, and the end of its connection."""
    ended: list[Exchange] = []
    connection = Connection[Exchange](VirtualClock(), LoopLag(), lambda _, one: ended.append(one))
    connection.connection_made(cast("asyncio.Transport", SilentTransport()))
    exchange = Exchange(Request(0, (1,), 8), due=0.0, streamed=streamed, needs_done=needs_done)
    connection.send(exchange)
    for part in parts:
        connection.data_received(part)
    connection.connection_lost(None)
    assert ended == [exchange]
    return exchange


def outcome(exchange: Exchange) -> Outcome:
    """Return what does not depend on how the bytes were split."""
    fault = exchange.fault
    return fault.kind if fault else None, exchange.status, exchange.texts, exchange.finish_reason


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Return the parts of some bytes, cut at these places as far as they exist."""
    bounds = [0, *sorted(cut for cut in cuts if 0 < cut < len(data)), len(data)]
    return [data[begin:end] for begin, end in pairwise(bounds)]


def fuzz_response(data: bytes) -> None:
    """Read any bytes as a response, as a fuzzer does: every split has the same, valid outcome."""
    pieces = split(data, range(PIECE_BYTES, len(data), PIECE_BYTES))
    for streamed, needs_done in ((True, True), (True, False), (False, False)):
        whole = received([data], streamed=streamed, needs_done=needs_done)
        assert outcome(whole) == outcome(received(pieces, streamed=streamed, needs_done=needs_done))
        assert len(whole.stamps) == len(whole.texts)
        whole.judge(forced=True)
        kind, message = (whole.fault.kind, whole.fault.message) if whole.fault else ("", "")
        assert kind != "client-error", message
        assert len(message.encode()) <= MESSAGE_BYTES
        assert "".join(message.split("\n")).isprintable(), message
