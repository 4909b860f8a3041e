"""A small, fast server of the OpenAI API that logs when it read requests and wrote tokens.

    python benchmarks/truth_server.py --port 8900 --ttft 0.02 --itl 0.005

It answers with ``max_tokens`` equal tokens, one write each: the first ``--ttft`` seconds after the
request was read, then one every ``--itl`` seconds (0: as fast as the socket accepts, streams in
turn). GET /truth returns and clears the log: for each request in the order of arrival, the last
word of its prompt and the times (CLOCK_MONOTONIC) of its reading and of each write. With
``--freeze AT FOR`` nothing is written for FOR seconds, AT seconds after the first request. With
``--event-bytes N`` the text of each token is N bytes long, and ``--tokens N`` is the number of
tokens of every answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

import httptools
import uvloop

from llmbench.backends.endpoint.timer import Timer

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = {
    "id": "chatcmpl-0123456789abcdef",
    "object": "chat.completion.chunk",
    "created": 1700000000,
    "model": "truth",
}


def chunk(*events: bytes) -> bytes:
    body = b"".join(b"data: %b\n\n" % event for event in events)
    return b"%x\r\n%b\r\n" % (len(body), body)


def token(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    return chunk(json.dumps({**PIECE, "choices": [choice]}).encode())


TOKEN = token(" word")


def ending(prompt_tokens: int, tokens: int) -> bytes:
    last = {**PIECE, "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
    counted = {**PIECE, "choices": [], "usage": {**usage, "total_tokens": sum(usage.values())}}
    events = (json.dumps(last).encode(), json.dumps(counted).encode(), b"[DONE]")
    return chunk(*events) + b"0\r\n\r\n"


@dataclass(slots=True)
class Stream:
    """One answer in progress."""

    transport: asyncio.Transport
    name: str
    tokens: int
    prompt_tokens: int
    read: float
    writes: list[float] = field(default_factory=list)

    def write(self, token: bytes) -> bool:
        """Write the next token unless the client is gone; return whether there are more."""
        if self.transport.is_closing():
            return False
        first, last = not self.writes, len(self.writes) + 1 == self.tokens
        self.writes.append(time.monotonic())
        payload = HEAD + token if first else token
        self.transport.write(payload + ending(self.prompt_tokens, self.tokens) if last else payload)
        return not last


class Truth:
    """All streams of a server, and when each writes next."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.ttft: float = options.ttft
        self.itl: float = options.itl
        self.freeze: tuple[float, float] | None = options.freeze
        self.token = token("w" * options.event_bytes)
        self.tokens: int | None = options.tokens
        self.log: list[Stream] = []
        self._loop = asyncio.get_running_loop()
        self._timer = Timer(self._loop, self._write_due)
        self._due: list[deque[tuple[float, Stream]]] = [deque(), deque()]  # first tokens, others

    def begin(self, stream: Stream) -> None:
        self.log.append(stream)
        self._due[0].append((stream.read + self.ttft, stream))
        self._write_due()

    def _write_due(self) -> None:
        now = time.monotonic()
        if (thaw := self._thawed(now)) > now:
            self._timer.set(thaw - now)
            return
        for queue in self._due:
            # streams of one queue fall due in the order in which they were queued
            for _ in range(len(queue)):
                if queue[0][0] > time.monotonic():
                    break
                due, stream = queue.popleft()
                if stream.write(self.token):
                    self._due[1].append((due + self.itl, stream))
        if ahead := [queue[0][0] for queue in self._due if queue]:
            self._timer.set(min(ahead) - time.monotonic())

    def _thawed(self, moment: float) -> float:
        if self.freeze and self.log:
            begin = self.log[0].read + self.freeze[0]
            if begin <= moment < begin + self.freeze[1]:
                return begin + self.freeze[1]
        return moment

    def take_log(self) -> bytes:
        log, self.log = self.log, []
        return json.dumps([[s.name, s.read, s.writes] for s in log]).encode()


class Server(asyncio.Protocol):
    """Reads the requests of one connection."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._now = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._now = time.monotonic()
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url, self._body = url, []

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._parser.get_method() == b"GET":
            models = b'{"object": "list", "data": [{"id": "truth", "object": "model"}]}'
            body = self._truth.take_log() if self._url == b"/truth" else models
            head = (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            )
            self._transport.write(head % len(body) + body)
            return
        if not self._url.endswith(b"completions"):
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        request = json.loads(b"".join(self._body))
        text = request.get("prompt") or _text(request["messages"][-1]["content"])
        tokens = (
            self._truth.tokens
            or request.get("max_tokens")
            or request.get("max_completion_tokens")
            or 16
        )
        words = text.split()
        self._truth.begin(Stream(self._transport, words[-1], tokens, len(words), self._now))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", "") for part in content)


async def serve(options: argparse.Namespace) -> None:
    truth = Truth(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Server(truth), "127.0.0.1", options.port, backlog=4096
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=0.0, help="seconds")
    parser.add_argument("--itl", type=float, default=0.0, help="seconds")
    parser.add_argument("--event-bytes", type=int, default=5, help="of the text of a token")
    parser.add_argument("--tokens", type=int, help="of every answer; default: as requested")
    parser.add_argument("--freeze", type=float, nargs=2, metavar=("AT", "FOR"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
