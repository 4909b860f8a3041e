"""One request and its response, with a timestamp per chunk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.answer import NO_TEXT, Fault
from llmbench.backends.endpoint.body import Body, ErrorBody
from llmbench.backends.endpoint.chunk_template import ChunkTemplate
from llmbench.backends.endpoint.growing_answer import GrowingAnswer
from llmbench.backends.endpoint.limits import Refused
from llmbench.backends.endpoint.openai_types import Choice, Chunk, read_chunk
from llmbench.backends.endpoint.reported_tokens import whole_count

OK = 200
DONE = b"[DONE]"
BLANKS = b" \t\r\n"
UNKNOWN, REASON_LENGTH = "unknown", 64  # finish reasons
SPENT = ChunkTemplate()  # of responses that are complete


@dataclass(slots=True, eq=False)
class Exchange(GrowingAnswer):
    """A request in flight, fed by a connection with bytes and their read times.

    A stream of events must end with [DONE] if it ``needs_done``, else with a finish_reason. The
    response may have ``max_bytes``.
    """

    streamed: bool = True
    needs_done: bool = True
    payload: bytes = b""
    max_bytes: int = limits.RESPONSE_BYTES
    status: int | None = None
    retry_after: float | None = None
    _body: Body | ErrorBody | None = None
    _template: ChunkTemplate = field(default_factory=ChunkTemplate)

    @property
    def held_bytes(self) -> int:
        """The most memory of the excess text and of incomplete events."""
        return self.excess_bytes + (self._body.buffered if self._body else 0)

    def give_up(self, delay: float) -> None:
        """Add to the fault that the next attempt, after a delay, would exceed a time limit."""
        assert self.fault  # noqa: S101 (only a failed request could be retried)
        message = f"{self.fault.message}; not retried after {delay:g} s: beyond the time limits"
        self.fault = Fault(self.fault.kind, limits.brief(message))

    def begin(self, status: int, content_type: str = "", encoding: str = "") -> None:
        """Process the status, the content type and the content encoding of the response."""
        self.status = status
        if status == OK:
            self._body = Body(content_type, encoding, streamed=self.streamed)
        else:
            self._body = ErrorBody(encoding)

    def body(self, now: float, data: bytes) -> None:
        """Process a part of the response body, which was read at ``now``."""
        body = self._body
        if body is None or self.fault is not None or self.done_at is not None:
            return
        texts = self._template.texts(data)
        if len(texts) == 1:  # the common case
            self._add_text(now, texts[0], is_content=self._template.is_content)
        elif texts:
            self._add_texts(now, texts, is_content=self._template.is_content)
        elif len(parts := self._template.cut(data)) > 1:
            self._count_events(len(parts))
            for part in parts:
                self.body(now, part)
        else:
            self._parse(now, data, body)

    def _parse(self, now: float, data: bytes, body: Body | ErrorBody) -> None:
        try:
            events = body.feed(data)
        except Refused as refusal:
            self.fail(refusal.kind, str(refusal))
            return
        before = len(self.texts)
        if len(events) == 1:
            self._event(now, events[0])
        elif events:
            self._several(now, events)
        if not body.is_between_events:
            self._template.suspend()
        elif events:
            total = len(self.texts)
            self._template.parsed(data, events[-1], total - before, total)

    def end(self, now: float) -> None:
        """Process the normal end of the response."""
        body = self._body
        if self.over or body is None:
            return
        if isinstance(body, ErrorBody):
            self.fail(f"http-{self.status}", _reason(body.text))
            return
        self._several(now, self._last_events(body))
        self._end_of_body(now, body)

    def _end_of_body(self, now: float, body: Body) -> None:
        if self.over:
            return
        if (document := body.document) is not None:
            self._end_of_document(now, document, body.content_type)
        else:
            self._end_of_stream(now, needs_done=self.needs_done and not body.is_ndjson)

    def cut(self, kind: str, message: str) -> None:
        """Fail a response that ended early, with the error that it has, else with the given one."""
        if isinstance(self._body, ErrorBody):
            self.end(0.0)
        elif self._body and not self.over:
            self._last_events(self._body)
        self.fail(kind, message)

    def release(self) -> None:
        """Free what is needed only until the end of the response."""
        self.payload, self.on_first_token, self._body = b"", None, None
        self._template = SPENT

    def _last_events(self, body: Body) -> Sequence[bytes]:
        """Return the events that the end of the body completes; fail if it is not a response."""
        try:
            return body.end()
        except Refused as refusal:
            self.fail(refusal.kind, str(refusal))
            return ()

    def _several(self, now: float, events: Sequence[bytes]) -> None:
        """Process events that were read at once, of which a flood has many."""
        self._count_events(len(events))
        for event in events:
            if self.over:
                return
            self._event(now, event)

    def _event(self, now: float, event: bytes) -> None:
        if not event.startswith(b"{"):
            # some proxies wrap events twice
            event = event.strip(BLANKS).removeprefix(b"data:").lstrip(BLANKS)
            if event.strip(b'"').upper() == DONE:
                self.done_at = now
                return
        if chunk := self._chunk(event):
            self._take(now, chunk)

    def _chunk(self, data: bytes) -> Chunk | None:
        try:
            chunk = read_chunk(data)
        except ValueError as error:
            self.fail("invalid-chunk", str(error))
            return None
        if chunk.error:
            self.fail("server-error", chunk.error)
            return None
        return chunk

    def _take(self, now: float, chunk: Chunk) -> None:
        self.facts.add(chunk)
        if chunk.usage or chunk.timings:
            self.reported.add(chunk.usage, chunk.timings)
        if not chunk.choices:
            return
        choice = chunk.choices[0]
        if choice is None or choice.index or len(chunk.choices) > 1:
            choice = self._first_choice(chunk.choices)
            if choice is None:
                return
        if reason := choice.finish_reason:
            self.finish_reason = reason[:REASON_LENGTH] if isinstance(reason, str) else UNKNOWN
        content, calls = choice.content, choice.tool_calls
        if text := content or calls or choice.reasoning:
            self._add_text(now, text, is_content=bool(content or calls))
        if calls:
            self._add_calls(calls, NO_TEXT if content else len(self.texts) - 1)

    def _first_choice(self, choices: Sequence[Choice | None]) -> Choice | None:
        """Return the choice with index 0 of several, or None; only that one is the answer."""
        present = [choice for choice in choices if choice]
        first = next((choice for choice in present if not whole_count(choice.index)), None)
        self.has_more_choices |= len(present) > (first is not None)
        return first

    def _end_of_document(self, now: float, document: bytes, content_type: str) -> None:
        """Process a response that is one JSON document: a whole completion, or an error."""
        chunk = self._chunk(document)
        if chunk is None:
            return
        if self.streamed:
            self.fail(
                "invalid-response",
                f"the response is not streamed ({content_type}); set `stream: false`",
            )
            return
        self._take(now, chunk)
        if not self.over:
            self.done_at = now

    def _end_of_stream(self, now: float, *, needs_done: bool) -> None:
        if needs_done:
            self.fail("truncated", "the stream ended without [DONE]")
        elif self.finish_reason is None:
            self.fail("truncated", "the stream ended without a finish_reason")
        else:
            self.done_at = now


def _reason(body: bytes) -> str:
    reason = ""
    with suppress(ValueError):
        reason = read_chunk(body).error or ""
    return reason or body.decode(errors="replace").strip() or "no reason given"
