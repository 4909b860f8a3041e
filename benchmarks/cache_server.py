"""A server of the OpenAI API with a prompt cache, whose times and token counts are known.

    python benchmarks/cache_server.py --port 8901 --per-token 0.0002

It counts tokens with the tokenizer of builtin:tiny (or ``--tokenizer FILE``), adds ``--template``
tokens to chats and one to text completions, and answers with ``max_tokens`` equal tokens, one every
``--itl`` seconds. The first comes ``--ttft`` seconds after the request was read, plus
``--per-token`` seconds for every prompt token that is not in its cache. Like vLLM, it caches the
prompts' blocks of ``--block`` tokens, each with all that precedes it, without limit. POST
/reset_prefix_cache empties the cache. GET /log returns and clears the prompts of the requests, as
received, and GET /metrics the queries and hits of the cache in tokens, under vLLM's names.

``--silent`` reports no cached tokens, ``--text-only`` rejects lists of token ids, and
``--no-reset`` has no path that empties the cache.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

import llmbench

TINY = Path(llmbench.__file__).parent / "models" / "builtin" / "tiny" / "tokenizer.json"
METRICS = """\
# TYPE vllm:prefix_cache_queries counter
vllm:prefix_cache_queries_total {0.queries}
# TYPE vllm:prefix_cache_hits counter
vllm:prefix_cache_hits_total {0.hits}
"""
BEGIN = -1  # negative ids are tokens of the template, which no text has


class PromptCache:
    """The blocks of all prompts so far, each identified by all tokens up to its end."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._known: set[int] = set()
        self.queries = self.hits = 0  # in tokens
        self._lock = threading.Lock()

    def add(self, ids: tuple[int, ...]) -> int:
        """Add a prompt; return how many of its leading tokens were known."""
        ends = range(self._block, len(ids), self._block)  # the last token is always computed
        blocks = [hash(ids[:end]) for end in ends]
        with self._lock:
            self.queries += len(ids)
            known = next((i for i, one in enumerate(blocks) if one not in self._known), len(blocks))
            self._known.update(blocks)
            self.hits += known * self._block
        return known * self._block

    def clear(self) -> None:
        with self._lock:
            self._known.clear()


class Server(ThreadingHTTPServer):
    """The server with its cache, and the log of received prompts."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        self.tokenizer = Tokenizer.from_file(str(options.tokenizer))
        self.cache = PromptCache(options.block)
        self.log: list[Any] = []

    def ids(self, body: dict[str, Any]) -> tuple[int, ...]:
        """Return the token ids of a request's prompt, as a server counts them."""
        if "messages" not in body:
            prompt = body["prompt"]
            return tuple(prompt) if isinstance(prompt, list) else (BEGIN, *self._encode(prompt))
        before = range(BEGIN, BEGIN - self.options.template + 1, -1)
        ids = [*before]
        for message in body["messages"]:
            ids += self._encode(message["content"])
        return (*ids, BEGIN - self.options.template)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/log":
            log, self.server.log = self.server.log, []
            self._send(log)
        elif self.path == "/metrics":
            self._send_text(METRICS.format(self.server.cache), "text/plain; version=0.0.4")
        else:
            self._send({"object": "list", "data": [{"id": "cached", "object": "model"}]})

    def do_POST(self) -> None:
        read = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        options = self.server.options
        if self.path == "/reset_prefix_cache" and not options.no_reset:
            self.server.cache.clear()
            self._send({})
        elif not self.path.endswith("completions"):
            self._send({"error": "no such path"}, 404)
        else:
            self._complete(json.loads(body), read)

    def _complete(self, body: dict[str, Any], read: float) -> None:
        options = self.server.options
        prompt = body.get("prompt") or body["messages"]
        if options.text_only and isinstance(body.get("prompt"), list):
            self._send({"error": "expected text"}, 400)
            return
        self.server.log.append(prompt)
        ids = self.server.ids(body)
        cached = self.server.cache.add(ids)
        due = read + options.ttft + options.per_token * (len(ids) - cached)
        time.sleep(max(0.0, due - time.monotonic()))
        self._stream(body, len(ids), cached)

    def _stream(self, body: dict[str, Any], prompt_tokens: int, cached: int) -> None:
        tokens = body["max_tokens"]
        kind = {"delta": {"content": " word"}} if "messages" in body else {"text": " word"}
        usage: dict[str, Any] = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
        if not self.server.options.silent:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        token = _event(json.dumps({"choices": [{"index": 0, **kind}]}))
        ending = _event(json.dumps({"choices": [], "usage": usage})) + _event("[DONE]")
        self._begin(200, "text/event-stream", len(token) * tokens + len(ending))
        for _ in range(tokens - 1):
            self.wfile.write(token)
            time.sleep(self.server.options.itl)
        self.wfile.write(token + ending)

    def _send(self, content: Any, status: int = 200) -> None:
        self._send_text(json.dumps(content), "application/json", status)

    def _send_text(self, text: str, kind: str, status: int = 200) -> None:
        payload = text.encode()
        self._begin(status, kind, len(payload))
        self.wfile.write(payload)

    def _begin(self, status: int, kind: str, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ttft", type=float, default=0.0, help="seconds")
    parser.add_argument("--itl", type=float, default=0.0, help="seconds")
    parser.add_argument("--per-token", type=float, default=0.0, help="seconds")
    parser.add_argument("--template", type=int, default=8, help="tokens around a chat, 2 or more")
    parser.add_argument("--block", type=int, default=16, help="tokens")
    parser.add_argument("--tokenizer", type=Path, default=TINY, help="a tokenizer.json")
    for flag in ("--silent", "--text-only", "--no-reset"):
        parser.add_argument(flag, action="store_true")
    server = Server(parser.parse_args())
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
