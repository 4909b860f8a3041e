"""A misbehaving server; the model name in a request selects the behavior."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress

from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.wire import Action, Behavior, End, Pause, plain

SEGMENT_SECONDS = 0.002
LINGER_NONE = struct.pack("ii", 1, 0)


class AdversarialServer:
    """Serves all behaviors on one port of the loopback interface.

    ``choose`` maps the requested model name to a behavior's name, by default the same name;
    ``served`` counts requests by behavior.
    """

    def __init__(
        self,
        choose: Callable[[str], str] = lambda model: model,
        behaviors: Mapping[str, Behavior] = BEHAVIORS,
    ) -> None:
        self._choose = choose
        self._behaviors = behaviors
        self.served: Counter[str] = Counter()
        self.url = ""
        self._conversations: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, port: int = 0) -> AsyncIterator[AdversarialServer]:
        """Accept connections within the context; port 0 selects a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=2**20)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._conversations:
                task.cancel()
            await asyncio.gather(*self._conversations, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._conversations.add(task)
        task.add_done_callback(self._conversations.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while await self._answer(await _request(reader), writer):
                    pass
            finally:
                writer.close()

    async def _answer(self, request: tuple[str, bytes], writer: asyncio.StreamWriter) -> bool:
        """Respond to one request; return whether the connection stays open."""
        line, body = request
        if line.startswith("GET"):
            writer.write(_models(self._behaviors))
            return True
        name = self._choose(json.loads(body)["model"])
        if name not in self._behaviors:
            writer.write(plain("404 Not Found", "application/json", b'{"error": "no such model"}'))
            return True
        self.served[name] += 1
        return await _play(self._behaviors[name].script, writer)


async def _request(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return the head (request line and headers) and the body of a request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    return head, await reader.readexactly(int(fields.get("content-length", 0)))


def _models(names: Iterable[str]) -> bytes:
    models = {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
    return plain("200 OK", "application/json", json.dumps(models).encode())


async def _play(steps: Iterable[Action], writer: asyncio.StreamWriter) -> bool:
    for step in steps:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
            await asyncio.sleep(SEGMENT_SECONDS)  # so that each part is a TCP segment
        elif isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
        else:
            _disconnect(writer, step)
            return False
    return True


def _disconnect(writer: asyncio.StreamWriter, how: End) -> None:
    if how is End.RESET:
        sock: socket.socket = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
        writer.transport.abort()


@contextmanager
def in_background(server: AdversarialServer) -> Iterator[AdversarialServer]:
    """Run the server in another thread within the context."""
    with asyncio.Runner() as runner, ThreadPoolExecutor(1) as thread:
        loop, stop, ready = runner.get_loop(), asyncio.Event(), Future[None]()

        async def serve() -> None:
            async with server.listening():
                ready.set_result(None)
                await stop.wait()

        served = thread.submit(runner.run, serve())
        served.add_done_callback(lambda _: ready.cancel())  # if listening failed
        try:
            ready.result()
            yield server
        finally:
            loop.call_soon_threadsafe(stop.set)
            served.result()
