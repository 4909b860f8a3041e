"""Servers that send whatever HTTP and JSON do not forbid, and much of what they do.

Each behavior has one expected outcome. Responses of unlimited length are generators.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from llmbench.backends.endpoint.addresses import resolve
from llmbench.backends.endpoint.conformance.behaviors import COMPLETE, EVENTS, FOREVER, JSON, TEXT
from llmbench.backends.endpoint.conformance.wire import (
    CHUNKED,
    STREAM,
    Action,
    Behavior,
    End,
    Pause,
    chunked,
    completion,
    delta,
    event,
    head,
    plain,
)
from llmbench.backends.endpoint.measured_serve import Served, serve
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.stopping import Stop
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream

OK = b"HTTP/1.1 200 OK\r\n"
SSE_HEAD = head("200 OK", STREAM, CHUNKED)
STREAMED = b"".join(COMPLETE)
LINES = [part[6:-2] for part in EVENTS]
ZSTD = b"\x28\xb5\x2f\xfd\x04\x00\x59\x00\x00abcdefghijk"
BROTLI = b"\x1b\x57\x00\xf8\x8d\x94\x6e\xde\x44\x55\x86\x96\xe5\x9a"
BLOCK = 64 * 1024
HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>"


@dataclass(frozen=True)
class Repeated:
    """A script that begins with some parts and repeats others, without end by default."""

    first: Iterable[Action]
    parts: Callable[[int], bytes]
    times: int | None = None

    def __iter__(self) -> Iterator[Action]:
        """Yield the parts; ``parts`` gets their number."""
        yield from self.first
        number = 0
        while self.times is None or number < self.times:
            yield self.parts(number)
            number += 1


def endless(first: Iterable[Action], part: bytes) -> Repeated:
    """Return a script that repeats a part in blocks."""
    block = part * max(1, BLOCK // len(part))
    return Repeated(first, lambda _: block)


def http_chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


def endless_body(part: bytes) -> Repeated:
    """Return a stream whose body repeats a part."""
    return endless([SSE_HEAD], http_chunk(part * max(1, BLOCK // len(part))))


def known(body: bytes, content_type: str, *fields: str) -> list[Action]:
    return [plain("200 OK", content_type, body, *fields)]


def until_closed(*parts: Action, content_type: str = STREAM) -> list[Action]:
    return [head("200 OK", content_type, "Connection: close"), *parts, End.CLOSE]


def raw(fields: bytes, body: bytes = b"") -> list[Action]:
    """Return a response with these headers as they are, and close the connection."""
    return [OK + fields + b"\r\n", body, End.CLOSE]


def named(kind: str | None, chunks: int | None, **scripts: Iterable[Action]) -> list[Behavior]:
    """Return behaviors with one outcome; ``chunks`` is None if their number is not determined."""
    return [
        Behavior(name.replace("_", "-"), "", script, kind, -1 if chunks is None else chunks, None)
        for name, script in scripts.items()
    ]


COMPLETE_ANSWERS = named(
    None,
    8,
    no_content_type=[OK + b"Transfer-Encoding: chunked\r\n\r\n", *chunked(COMPLETE)[1:]],
    plain_text_type=chunked(COMPLETE, content_type="text/plain; charset=utf-8"),
    json_type=chunked(COMPLETE, content_type=JSON),
    binary_type=chunked(COMPLETE, content_type="application/octet-stream"),
    html_type=chunked(COMPLETE, content_type="text/html"),
    upper_case_type=chunked(COMPLETE, content_type="TEXT/EVENT-STREAM"),
    long_type=chunked(COMPLETE, content_type="text/" + "x" * 60_000),
    latin_type=raw(b"Content-Type: \xff\xfe\xe4\r\n", STREAMED),
    empty_type=raw(b"Content-Type:\r\n", STREAMED),
    identity=chunked(COMPLETE, "Content-Encoding: identity"),
    encoding_none=chunked(COMPLETE, "Content-Encoding: none"),
    declared_gzip=chunked(COMPLETE, "Content-Encoding: gzip"),
    blank_lines_first=chunked([b"\r\n\n\r\n", *COMPLETE], content_type="text/plain"),
    mark_first=chunked([b"\xef\xbb\xbf", *COMPLETE], content_type="text/plain"),
    comment_first=chunked([b": hello\n\n", *COMPLETE], content_type="text/plain"),
    empty_chunks=chunked([part for event in COMPLETE for part in (b":\n", event)]),
    lines=chunked([b"\n".join(LINES)], content_type="application/x-ndjson"),
    lines_as_events=chunked([line + b"\n" for line in LINES]),
    lines_without_last_end=chunked([b"\n".join(LINES).strip()], content_type="text/plain"),
    lines_crlf=chunked([line.strip() + b"\r\n" for line in LINES], content_type="text/json"),
    lines_with_done=chunked([*(line + b"\n" for line in LINES), b"[DONE]"]),
    lines_with_blanks=chunked([b"\n\n" + line + b"\n \n" for line in LINES]),
    json_sequence=chunked([b"\x1e" + line + b"\n" for line in LINES]),
    lines_split=chunked([part for line in LINES for part in (line[:9], line[9:] + b"\n")]),
    continue_first=[b"HTTP/1.1 100 Continue\r\n\r\n" * 50, *chunked(COMPLETE)],
    early_hints=[b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", *chunked(COMPLETE)],
    processing=[b"HTTP/1.1 102 Processing\r\n\r\n", Pause(0.02), *chunked(COMPLETE)],
    other_interim=[b"HTTP/1.1 199 Odd\r\n\r\n", *chunked(COMPLETE)],
    interim_with_type=[b"HTTP/1.1 103 X\r\nContent-Encoding: gzip\r\n\r\n", *chunked(COMPLETE)],
    http_1_0=[b"HTTP/1.0 200 OK\r\n\r\n", STREAMED, End.CLOSE],
    no_reason=[b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(STREAMED), STREAMED],
    empty_lines_first=[b"\r\n\r\n", *chunked(COMPLETE)],
    closed_after_done=[*chunked(COMPLETE, ended=False), End.CLOSE],
    reset_after_done=[*chunked(COMPLETE, ended=False), Pause(0.05), End.RESET],
    done_and_garbage=[*chunked(COMPLETE, ended=False), b"zz garbage"],
    long_content_length=[head("200 OK", STREAM, "Content-Length: 99999"), STREAMED, End.CLOSE],
    huge_chunk=[SSE_HEAD, b"7fffffffffffffff\r\n" + STREAMED, End.CLOSE],
    chunk_extensions=[SSE_HEAD, b"%x;a=b;c\r\n%b\r\n0\r\n\r\n" % (len(STREAMED), STREAMED)],
    padded_chunk_size=[SSE_HEAD, b"0000%x\r\n%b\r\n0\r\n\r\n" % (len(STREAMED), STREAMED)],
    trailers=[SSE_HEAD, http_chunk(STREAMED) + b"0\r\nX-Checksum: 1\r\nContent-Type: a\r\n\r\n"],
    one_byte_chunks=[SSE_HEAD, b"".join(http_chunk(bytes([b])) for b in STREAMED) + b"0\r\n\r\n"],
    two_responses=[b"".join(p for p in chunked(COMPLETE) if isinstance(p, bytes)) * 2],
    bytes_after=[plain("200 OK", STREAM, STREAMED) + b"SSH-2.0-OpenSSH"],
    endless_after_done=endless([*chunked(COMPLETE, ended=False)], http_chunk(b": on\n\n" * 999)),
    many_fields=chunked([b"event: a\nid: b\nretry: 1\n" * 99 + part for part in COMPLETE]),
    many_headers=chunked(COMPLETE, *(f"X-{number}: a" for number in range(200))),
)

NOT_ANSWERS = named(
    "invalid-response",
    0,
    web_page=known(HTML, "text/html"),
    web_page_as_events=known(HTML, STREAM),
    web_page_cut=[head("200 OK", "text/html", "Content-Length: 9999"), HTML, End.CLOSE],
    xml=known(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "text/xml"),
    whole_json=known(completion(), JSON),
    whole_json_as_events=known(completion(), STREAM),
    whole_json_line=known(completion() + b"\n", JSON),
    pretty_json=known(json.dumps(json.loads(completion()), indent=2).encode(), JSON),
    whole_until_closed=until_closed(completion(), content_type=JSON),
    gzip=known(gzip.compress(STREAMED), STREAM, "Content-Encoding: gzip"),
    undeclared_gzip=known(gzip.compress(STREAMED), STREAM),
    gzip_json=known(gzip.compress(completion()), JSON, "Content-Encoding: gzip"),
    gzip_split=chunked([bytes([byte]) for byte in gzip.compress(STREAMED)[:20]],
                       "Content-Encoding: gzip"),
    gzip_transfer=[head("200 OK", STREAM, "Transfer-Encoding: gzip, chunked"),
                   http_chunk(gzip.compress(STREAMED)) + b"0\r\n\r\n"],
    deflate=known(zlib.compress(STREAMED), STREAM, "Content-Encoding: deflate"),
    raw_deflate=known(zlib.compress(STREAMED)[2:-4], STREAM, "Content-Encoding: deflate"),
    brotli=known(BROTLI, STREAM, "Content-Encoding: br"),
    undeclared_brotli=known(BROTLI, STREAM),
    zstd=known(ZSTD, STREAM),
    bzip2=known(bz2.compress(STREAMED), "application/octet-stream"),
    xz=known(lzma.compress(STREAMED), "application/octet-stream"),
    two_encodings=known(gzip.compress(gzip.compress(STREAMED)), STREAM,
                        "Content-Encoding: gzip, gzip"),
    binary=known(bytes(range(256)) * 20, "image/png"),
    http_2_frames=[b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", End.CLOSE],
    http_0_9=[HTML, End.CLOSE],
    tls_alert=[b"\x15\x03\x01\x00\x02\x02\x46", End.CLOSE],
    negative_length=raw(b"Content-Length: -1\r\n", STREAMED),
    conflicting_lengths=raw(b"Content-Length: 5\r\nContent-Length: 6\r\n", STREAMED),
    length_and_chunks=raw(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", STREAMED),
    length_of_words=raw(b"Content-Length: many\r\n", STREAMED),
    length_beyond_64_bits=raw(b"Content-Length: 18446744073709551616\r\n", STREAMED),
    chunk_beyond_64_bits=[SSE_HEAD, b"10000000000000000\r\n" + STREAMED, End.CLOSE],
    negative_chunk=[SSE_HEAD, b"-1\r\n" + STREAMED, End.CLOSE],
    chunk_of_words=[SSE_HEAD, b"many\r\n" + STREAMED, End.CLOSE],
    unchunked=[SSE_HEAD, STREAMED, End.CLOSE],
    header_without_colon=raw(b"Content-Type text/event-stream\r\n", STREAMED),
    header_with_nul=raw(b"X: a\0b\r\n", STREAMED),
    header_name_with_blank=raw(b"Content Type: a\r\n", STREAMED),
    status_of_words=[b"HTTP/1.1 OK\r\n\r\n", End.CLOSE],
    negative_status=[b"HTTP/1.1 -200 OK\r\n\r\n", End.CLOSE],
)  # fmt: skip

ERRORS = [
    *named("server-error", 0,
           json_error=known(b'{"error": {"message": "out of memory"}}', JSON),
           json_error_as_events=known(b'{"error": "out of memory"}', STREAM),
           json_error_line=known(b'{"error": "out of memory"}\n', JSON),
           pretty_error=known(b'{\n  "error": {\n    "message": "no"\n  }\n}\n', JSON),
           json_error_until_closed=until_closed(b'{"error": "no"}', content_type=JSON),
           plain_error=known(b"upstream connect error", "text/plain"),
           plain_error_as_events=known(b"no healthy upstream\n", STREAM),
           plain_error_cut=[head("200 OK", "text/plain", "Content-Length: 99"), b"no upstream\n",
                            End.CLOSE]),
    *named("server-error", 3, error_line=chunked(
        [*(line + b"\n" for line in LINES[:3]), b'{"error": "out of memory"}\n'])),
    *named("http-101", 0,
           upgrade=[b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n",
                    b"Connection: Upgrade\r\n\r\n\x00\x00\x12\x04"],
           switch=[b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + STREAMED]),
    *named("http-204", 0, no_content=[b"HTTP/1.1 204 No Content\r\n\r\n"]),
    *named("http-304", 0, not_modified=[b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"]),
    *named("http-206", 0, partial=[plain("206 Partial Content", STREAM, STREAMED)]),
    *named("http-999", 0, unknown_status=[plain("999 Odd", STREAM, STREAMED)]),
    *named("http-401", 0, unauthorized=[plain("401 Unauthorized", JSON, b'{"error": "no key"}')]),
    *named("http-429", 0, rate_limit=[plain("429 Too Many", JSON, b"{}", "Retry-After: inf")]),
    *named("http-500", 0,
           large_error=[plain("500 Error", "text/plain", b"x" * 15_000_000)],
           large_json_error=[plain("500 Error", JSON, b'{"error": "%b"}' % (b"x" * 15_000_000))],
           endless_error=endless([b"HTTP/1.1 500 Error\r\n\r\n"], b"x"),
           cut_error=[b"HTTP/1.1 500 Error\r\nContent-Length: 999\r\n\r\nout of mem", End.CLOSE],
           reset_error=[b"HTTP/1.1 500 Error\r\nContent-Length: 999\r\n\r\nout", Pause(0.05),
                        End.RESET],
           html_error=[plain("500 Error", "text/html", HTML)],
           gzip_error=[plain("500 Error", JSON, gzip.compress(HTML), "Content-Encoding: gzip")],
           binary_error=[plain("500 Error", "image/png", bytes(range(256)))],
           nested_error=[plain("500 Error", JSON, b"[" * 60_000)],
           empty_error=[plain("500 Error", JSON, b"")],
           misframed_error=[b"HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n"]),
]  # fmt: skip

CUT = [
    *named("truncated", 0,
           empty_stream=chunked([]),
           empty_json=known(b"", JSON),
           blanks=known(b" \r\n\t" * 9, STREAM),
           only_comments=chunked([b": ping\n\n"] * 3),
           first_bytes=chunked([b"dat"]),
           http_2=[b"HTTP/2.0 200 OK\r\n\r\n", End.CLOSE],
           no_body=raw(b"")),
    *named("truncated", 3,
           cut_chunk=[SSE_HEAD, http_chunk(b"".join(TEXT[:3])), b"ff\r\ndata: {", End.CLOSE],
           cut_chunk_size=[SSE_HEAD, http_chunk(b"".join(TEXT[:3])), b"ff", End.CLOSE],
           cut_lines=[*chunked([*(line + b"\n" for line in LINES[:3]), LINES[3][:9]], ended=False),
                      End.CLOSE],
           short_content_length=[plain("200 OK", STREAM, b"".join(TEXT[:3])) + b"".join(TEXT[3:])]),
    *named("truncated", 8, lines_without_reason=chunked([line + b"\n" for line in LINES[:8]])),
    *named("invalid-chunk", 3,
           broken_line=chunked([*(line + b"\n" for line in LINES[:3]), b'{"choices": [\n']),
           deep_event=chunked([*TEXT[:3], event(b'{"error": ' + b"[" * 100_000)])),
    *named("invalid-response", 3,
           lost_chunk_end=[SSE_HEAD, http_chunk(b"".join(TEXT[:3]))[:-2] + b"zz", End.CLOSE]),
    *named("reset", 0,
           closed=[End.CLOSE],
           reset=[End.RESET],
           cut_status=[b"HTTP/1.1 20", End.CLOSE],
           cut_headers=[OK + b"Content-Type: text", End.CLOSE],
           only_continue=[b"HTTP/1.1 100 Continue\r\n\r\n", End.CLOSE]),
]  # fmt: skip

TOO_LARGE = [
    *named("too-large", 0,
           endless_continue=endless([], b"HTTP/1.1 100 Continue\r\n\r\n"),
           endless_hints=endless([], b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"),
           endless_headers=Repeated([OK], lambda number: b"X-%d: %b\r\n" % (number, b"a" * 900)),
           endless_header=endless([OK + b"X: "], b"a"),
           endless_header_name=endless([OK], b"a"),
           endless_reason=endless([b"HTTP/1.1 200 "], b"a"),
           too_many_headers=chunked(COMPLETE, *(f"X-{number}: a" for number in range(300))),
           large_headers=chunked(COMPLETE, *(f"X-{number}: {'a' * 9000}" for number in range(9))),
           endless_chunk_extension=endless([SSE_HEAD, b"5;a="], b"a"),
           endless_line=endless_body(b"a"),
           endless_data_line=endless([SSE_HEAD, http_chunk(b"data: ")], http_chunk(b"a" * BLOCK)),
           endless_event=endless_body(b"data: a\n"),
           endless_empty_data=endless_body(b"data\n"),
           endless_comment=endless([SSE_HEAD, http_chunk(b": ")], http_chunk(b"a" * BLOCK)),
           endless_comments=endless_body(b": ping\n\n"),
           endless_fields=endless_body(b"event: a\n"),
           endless_blanks=endless_body(b" "),
           endless_blank_lines=endless_body(b"\n"),
           endless_json=endless([SSE_HEAD, http_chunk(b"{\n")], http_chunk(b"[" * BLOCK)),
           endless_json_line=endless([SSE_HEAD, http_chunk(b'{"a": "')], http_chunk(b"a" * BLOCK)),
           endless_json_lines=endless_body(b"{}\n"),
           endless_roles=endless_body(event(delta("assistant", "role"))),
           large_event=chunked([event(delta("word " * 2_000_000)), *COMPLETE]),
           large_lines=chunked([b'{"a": 1}\n', b'{"a": "%b"}' % (b"a" * 3_000_000)])),
    *named("too-large", 1,
           large_text=chunked([event(delta("word " * 10_000)) * 2, *COMPLETE])),
    *named("too-large", 8,
           endless_trailers=Repeated([*chunked(EVENTS, ended=False), b"0\r\n"],
                                     lambda number: b"X-%d: %b\r\n" % (number, b"a" * 900)),
           endless_trailer=endless([*chunked(EVENTS, ended=False), b"0\r\nX: "], b"a")),
]  # fmt: skip

TOO_LATE = [
    *named("timeout-first-token", 0,
           silence=[FOREVER],
           silent_body=[SSE_HEAD, FOREVER],
           slow_status=Repeated([], lambda number: b"HTTP/1.1 200 OK"[number : number + 1], 15),
           slow_continue=Repeated([], lambda _: b"HTTP/1.1 100 Continue\r\n\r\n", 400),
           slow_comments=Repeated([SSE_HEAD], lambda _: http_chunk(b": ping\n\n"), 400),
           slow_error=[b"HTTP/1.1 500 Error\r\nContent-Length: 99\r\n\r\nout", FOREVER],
           slow_web_page=[head("200 OK", "text/html", CHUNKED), http_chunk(b"<"), FOREVER]),
    *named("timeout-total", 3, stall=[*chunked(TEXT[:3], ended=False), FOREVER]),
    *named("timeout-total", None,
           slow_chunk=Repeated([*chunked(TEXT[:3], ended=False), b"ffff\r\n"], lambda _: b":", 900),
           slow_tokens=Repeated([SSE_HEAD], lambda _: http_chunk(b": a\n") + http_chunk(TEXT[0]),
                                40)),
]  # fmt: skip

BEHAVIORS = {
    behavior.name: behavior
    for group in (COMPLETE_ANSWERS, NOT_ANSWERS, ERRORS, CUT, TOO_LARGE, TOO_LATE)
    for behavior in group
}


# -- requests --------------------------------------------------------------------------------------

USERS = 16
TOKENS = 8


def loaded(url: str, names: Iterable[str], users: int = USERS, **options: float) -> Served:
    """Send a request for each behavior, as many at a time as there are users."""
    settings = EndpointOptions.model_validate({"url": url, **options})
    pool = [Request(number, (1,), TOKENS, text=name) for number, name in enumerate(names)]
    stop = Stop(requests=len(pool))
    arrivals = Closed(Closed.Options(concurrency=users)).arrivals(stop, stream(0, "arrivals"))
    target = settings.target(resolve(settings.base))
    return serve(target, _payload, Dispatch(pool, arrivals, stop), MonotonicClock())


def _payload(request: Request, _server: int) -> bytes:
    body = json.dumps({"model": request.text}).encode()
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
