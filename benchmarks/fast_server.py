"""A server of the OpenAI API that streams tokens faster than clients can read them.

    python benchmarks/fast_server.py --events 16

It sends ``--events`` tokens per write, to each open stream in turn, as fast as the sockets accept
them, and logs nothing. With ``--together N`` every answer begins with one token, and none goes on
before N are open at the same time.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from truth_server import HEAD, TOKEN, ending

MODELS = b'{"object": "list", "data": [{"id": "fast", "object": "model"}]}'
READ_BYTES = 2**18
BACKLOG = 4096


@dataclass(eq=False, slots=True)
class Stream:
    """A connection and what is left of the answer on it."""

    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    tokens_left: int = 0
    last: bytes = b""

    def requests(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the head and the body of each complete request."""
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end])
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"),
                0,
            )
            if len(self.received) < end + 4 + length:
                return
            body = bytes(self.received[end + 4 : end + 4 + length])
            del self.received[: end + 4 + length]
            yield head, body

    def answer(self, head: bytes, body: bytes) -> bool:
        """Begin the answer to a request; return whether it is a stream."""
        if head.startswith(b"GET"):
            self.unsent = memoryview(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(MODELS), MODELS)
            )
            self.flush()
            return False
        tokens = json.loads(body)["max_tokens"]
        self.tokens_left, self.last = tokens - 1, last_bytes(tokens)
        self.unsent = memoryview(HEAD + TOKEN)
        self.flush()
        return True

    def flush(self) -> bool:
        """Send the rest of the last write; return whether the socket accepted all of it."""
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return False
        return not self.unsent

    def write(self, events: int, pieces: list[bytes]) -> bool:
        """Send the next tokens; return whether there is more to send."""
        if self.unsent and not self.flush():
            return True
        if not self.last:
            return False
        count = min(events, self.tokens_left)
        self.tokens_left -= count
        data = pieces[count]
        if not self.tokens_left:
            data, self.last = data + self.last, b""
        self.unsent = memoryview(data)
        self.flush()
        return bool(self.last or self.unsent)


@cache
def last_bytes(tokens: int) -> bytes:
    return ending(prompt_tokens=4, tokens=tokens)


def serve(listener: socket.socket, events: int, together: int) -> None:
    pieces = [TOKEN * count for count in range(events + 1)]
    poll, streams = select.epoll(), {listener.fileno(): Stream(listener)}
    active: list[Stream] = []
    poll.register(listener, select.EPOLLIN)
    is_waiting = together > 0
    while True:
        for number, _ in poll.poll(0 if active and not is_waiting else None):
            stream = streams[number]
            if stream.socket is listener:
                connection, _ = listener.accept()
                connection.settimeout(0)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                streams[connection.fileno()] = Stream(connection)
                poll.register(connection, select.EPOLLIN)
                continue
            data = _received(stream.socket)
            if not data:
                poll.unregister(number)
                stream.last, stream.unsent = b"", memoryview(b"")
                streams.pop(number).socket.close()
                continue
            stream.received += data
            active += [stream for request in stream.requests() if stream.answer(*request)]
        is_waiting = is_waiting and len(active) < together
        if not is_waiting:
            active = [stream for stream in active if stream.write(events, pieces)]


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(READ_BYTES)
    except ConnectionResetError:
        return b""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1, help="tokens per write")
    parser.add_argument("--together", type=int, default=0, help="streams that wait for each other")
    options = parser.parse_args()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    print(listener.getsockname()[1], flush=True)
    serve(listener, options.events, options.together)


if __name__ == "__main__":
    main()
