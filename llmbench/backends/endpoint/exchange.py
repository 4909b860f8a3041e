"""One request and its response, with a timestamp per chunk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields

from llmbench.backends.endpoint.openai_types import Chunk, Usage, error_text, read_chunk
from llmbench.backends.endpoint.sse import EventReader
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Finish
from llmbench.runs.request import Request

OK = 200
DONE = b"[DONE]"
EVENT_STREAM = "text/event-stream"
MAX_EVENT_BYTES = 16 * 2**20
MAX_REASON_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason a request failed: an error kind, by which errors are counted, and a message."""

    kind: str
    message: str


@dataclass(slots=True, eq=False)
class Answer:
    """A request and its response.

    Times are seconds on the run's clock. ``stamps`` and ``texts`` have one entry per chunk with
    text; ``first_lag`` and ``last_lag`` are the most that the first and the last stamp may be late.
    """

    request: Request
    due: float
    begun: float = 0.0
    connect_seconds: float | None = None
    retries: int = 0
    stamps: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    first_lag: float | None = None
    last_lag: float | None = None
    first_content: float | None = None
    usage: Usage | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None
    fault: Fault | None = None

    @property
    def counted(self) -> int | None:
        """The number of output tokens reported by the server, or None."""
        return self.usage.completion_tokens if self.usage else None

    def judge(self, *, forced: bool) -> None:
        """Set the fault if a complete response is empty or, with ``forced``, too short."""
        if self.fault:
            return
        if not self.stamps:
            self.fault = Fault("too-few-tokens", "the response has no text")
        elif forced and self.counted is not None and self.counted < self.request.max_new_tokens:
            self.fault = Fault(
                "too-few-tokens",
                f"{self.counted} of {self.request.max_new_tokens} tokens; the server ended the "
                "response early; set `stop_at_eos: true` to allow this",
            )

    def plain(self) -> Answer:
        """Return a copy without the transfer's state, which can be sent to the parent process."""
        return Answer(**{field.name: getattr(self, field.name) for field in fields(Answer)})

    def finish(self, tokens: int) -> Finish:
        """Return the finish reason of a response with ``tokens`` output tokens."""
        if self.fault:
            return "error"
        if self.finish_reason:
            return "length" if self.finish_reason == "length" else "eos"
        return "length" if tokens >= self.request.max_new_tokens else "eos"


@dataclass(slots=True, eq=False)
class Exchange(Answer):
    """A request in flight, fed by a connection with bytes and their read times.

    ``lag`` is the most that the current read time may be late. A stream must end with [DONE] if it
    ``needs_done``, else with a finish_reason. The exchange is ``over`` when the response is
    complete or ``fault`` is set.
    """

    streamed: bool = True
    needs_done: bool = True
    on_first_token: Callable[[int], None] | None = None
    payload: bytes = b""
    lag: float = 0.0
    status: int | None = None
    retry_after: float | None = None
    done_at: float | None = None
    received: int = 0
    _events: EventReader = field(default_factory=EventReader)
    _plain: bytearray = field(default_factory=bytearray)
    _reads_events: bool = False
    _reasoning_chunks: int = 0

    @property
    def over(self) -> bool:
        """Whether the response is complete or the request has failed."""
        return self.fault is not None or self.done_at is not None

    def fail(self, kind: str, message: str) -> None:
        """Set the fault, unless the exchange is over."""
        if not self.over:
            self.fault = Fault(kind, message)

    def begin(self, status: int, content_type: str) -> None:
        """Process the status and content type of the response."""
        self.status = status
        is_stream = self.streamed and content_type.startswith(EVENT_STREAM)
        self._reads_events = status == OK and is_stream

    def body(self, now: float, data: bytes) -> None:
        """Process a part of the response body, which was read at ``now``."""
        self.received += len(data)
        if not self._reads_events:
            self._plain += data
            return
        events = self._events.feed(data)
        for event in events:
            self._event(now, event)
        if not events and self._events.buffered > MAX_EVENT_BYTES:
            self.fail("invalid-chunk", f"an event has more than {MAX_EVENT_BYTES} bytes")

    def end(self, now: float) -> None:
        """Process the normal end of the response."""
        if self.over:
            return
        if self.status != OK:
            self.fail(f"http-{self.status}", _reason(bytes(self._plain)))
        elif self._reads_events:
            self._end_of_stream(now)
        elif self.streamed:
            self._fail_unstreamed()
        else:
            self._whole(now)

    def _event(self, now: float, event: bytes) -> None:
        if self.over:
            return
        if event == DONE:
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
        if (failure := chunk.failure) is not None:
            self.fail("server-error", failure)
            return None
        return chunk

    def _take(self, now: float, chunk: Chunk) -> None:
        if chunk.usage:
            self.usage = chunk.usage
        if chunk.cached_tokens is not None:
            self.cached_tokens = chunk.cached_tokens
        if not chunk.choices:
            return
        choice = chunk.choices[0]  # no request asks for more than one choice
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        content = choice.content
        if text := content or choice.reasoning:
            if not self.stamps:
                self.first_lag = self.lag
                if self.on_first_token:
                    self.on_first_token(self.request.id)
            self.last_lag = self.lag
            self.stamps.append(now)
            self.texts.append(text)
            if content and self.first_content is None:
                self.first_content = now
                self._reasoning_chunks = len(self.texts) - 1

    def _whole(self, now: float) -> None:
        if chunk := self._chunk(bytes(self._plain)):
            self._take(now, chunk)
            self.done_at = now

    def _end_of_stream(self, now: float) -> None:
        if self.needs_done:
            self.fail("truncated", "the stream ended without [DONE]")
        elif self.finish_reason is None:
            self.fail("truncated", "the stream ended without a finish_reason")
        else:
            self.done_at = now

    def _fail_unstreamed(self) -> None:
        """Fail a response that should have been a stream but is an error or a whole completion."""
        if self._chunk(bytes(self._plain)):
            self.fail("invalid-response", "the response is not streamed; set `stream: false`")

    @property
    def outcome(self) -> RequestOutcome:
        """The outcome of the request, as the dispatch needs it."""
        if self.fault or not self.stamps:
            return RequestOutcome(succeeded=False)
        # reasoning is not part of the conversation
        answer = "".join(self.texts[self._reasoning_chunks :]) if self.request.turns else ""
        tokens = self.counted or len(self.texts)
        return RequestOutcome(
            first_token=self.stamps[0], token_times=self.stamps, tokens=tokens, answer_text=answer
        )


def _reason(body: bytes) -> str:
    try:
        chunk = read_chunk(body)
    except ValueError:
        return body[:MAX_REASON_LENGTH].decode(errors="replace").strip() or "no reason given"
    reason = chunk.failure or (error_text(chunk.message) if chunk.message else "")
    return (reason or body.decode(errors="replace").strip())[:MAX_REASON_LENGTH]
