"""A server that misbehaves on demand: the model that a request names is the behavior it gets."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress

from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.wire import Action, End, Pause, plain

SEGMENT_SECONDS = 0.002
LINGER_NONE = struct.pack("ii", 1, 0)


class AdversarialServer:
    """Serves every behavior at once, on a port of the loopback interface.

    ``choose`` turns the model that was asked for into the name of a behavior (as it is, by
    default); ``served`` counts what was served.
    """

    def __init__(self, choose: Callable[[str], str] = lambda model: model) -> None:
        self._choose = choose
        self.served: Counter[str] = Counter()
        self.url = ""
        self._talks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[AdversarialServer]:
        """Listen while the context lasts; port 0 takes any that is free."""
        server = await asyncio.start_server(self._converse, "127.0.0.1", port, limit=2**20)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for talk in self._talks:
                talk.cancel()
            await asyncio.gather(*self._talks, return_exceptions=True)

    def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self._answer(await _request(reader), writer):
                    pass
            finally:
                writer.close()

    async def _answer(self, asked: tuple[str, bytes], writer: asyncio.StreamWriter) -> bool:
        """Answer one request; tell whether the connection goes on."""
        line, body = asked
        if line.startswith("GET"):
            writer.write(_models())
            return True
        name = self._choose(json.loads(body)["model"])
        if name not in BEHAVIORS:
            writer.write(plain("404 Not Found", "application/json", b'{"error": "no such model"}'))
            return True
        self.served[name] += 1
        return await _play(BEHAVIORS[name].script(), writer)


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read a request: its first line and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return head, await reader.readexactly(int(fields.get("content-length", 0)))


def _models() -> bytes:
    listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in BEHAVIORS]}
    return plain("200 OK", "application/json", json.dumps(listed).encode())


async def _play(steps: Iterable[Action], writer: asyncio.StreamWriter) -> bool:
    for step in steps:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
            await asyncio.sleep(SEGMENT_SECONDS)  # so that each part is a segment of its own
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        else:
            _hang_up(writer, step)
            return False
    return True


def _hang_up(writer: asyncio.StreamWriter, how: End) -> None:
    if how is End.RESET:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        writer.transport.abort()


@contextmanager
def in_background(server: AdversarialServer) -> Iterator[AdversarialServer]:
    """Serve from a thread of its own while the context lasts."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        loop, stop, ready = runner.get_loop(), asyncio.Event(), Future[None]()

        async def serve() -> None:
            async with server.listening():
                ready.set_result(None)
                await stop.wait()

        served = thread.submit(runner.run, serve())
        served.add_done_callback(lambda _: ready.cancel())  # where it could not listen
        try:
            ready.result()
            yield server
        finally:
            loop.call_soon_threadsafe(stop.set)
            served.result()
