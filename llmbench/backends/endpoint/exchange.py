"""One request and its response, with a timestamp per chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields

from llmbench.backends.endpoint.openai_types import Choice, Chunk, read_chunk
from llmbench.backends.endpoint.reported_tokens import ReportedTokens, whole_count
from llmbench.backends.endpoint.sse import EventReader
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Finish
from llmbench.runs.request import Request

OK = 200
DONE = b"[DONE]"
BLANKS = b" \t\r\n"
EVENT_STREAM = "text/event-stream"
MAX_EVENT_BYTES = 16 * 2**20
MAX_REASON_LENGTH = 300
ABORTED, UNKNOWN = ("error", "abort"), "unknown"  # finish reasons
MARGIN_CHUNKS, MARGIN_CHARACTERS, CHARACTERS_PER_TOKEN = 64, 1024, 16


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
    ``limits_length``: the request had a length; ``has_more_choices``: the response had choices
    besides the one with index 0, which is the answer.
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
    reported: ReportedTokens = field(default_factory=ReportedTokens)
    limits_length: bool = True
    has_more_choices: bool = False
    finish_reason: str | None = None
    fault: Fault | None = None

    @property
    def counted(self) -> int | None:
        """The number of output tokens reported by the server; None if there is no possible one."""
        return self.possible().output

    def possible(self, by_tokenizer: int = 0) -> ReportedTokens:
        """Return the token counts reported by the server, without impossible ones.

        A text has as many tokens as chunks, or more by a tokenizer.
        """
        text_tokens = max(len(self.texts), by_tokenizer)
        return self.reported.possible(self.request, text_tokens, limits_length=self.limits_length)

    def judge(self, *, forced: bool) -> None:
        """Set the fault if a complete response is aborted, empty or, with ``forced``, too short."""
        if self.fault:
            return
        counted, requested = self.counted, self.request.max_new_tokens
        if self.finish_reason in ABORTED:
            self.fault = Fault("server-error", f"the finish_reason is {self.finish_reason}")
        elif not self.stamps:
            self.fault = Fault("too-few-tokens", "the response has no text")
        elif forced and counted is not None and counted < requested:
            self.fault = Fault(
                "too-few-tokens",
                f"{counted} of {requested} tokens; the server ended the "
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
    _next_check: int = 0

    def __post_init__(self) -> None:
        """Set the number of chunks from which the length of the response is checked."""
        self._next_check = self.request.max_new_tokens + MARGIN_CHUNKS

    @property
    def over(self) -> bool:
        """Whether the response is complete or the request has failed."""
        return self.fault is not None or self.done_at is not None

    def fail(self, kind: str, message: str) -> None:
        """Set the fault, unless the exchange is over."""
        if not self.over:
            self.fault = Fault(kind, message)

    def give_up(self, delay: float) -> None:
        """Add to the fault that the next attempt, after a delay, would exceed a time limit."""
        assert self.fault  # noqa: S101 (only a failed request could be retried)
        message = f"{self.fault.message}; not retried after {delay:g} s: beyond the time limits"
        self.fault = Fault(self.fault.kind, message)

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
        if not event.startswith(b"{"):
            event = event.strip(BLANKS)
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
            self.finish_reason = reason if isinstance(reason, str) else UNKNOWN
        content = choice.content
        if text := content or choice.reasoning:
            self._add_text(now, text, is_content=bool(content))

    def _add_text(self, now: float, text: str, *, is_content: bool) -> None:
        if not self.stamps:
            self.first_lag = self.lag
            if self.on_first_token:
                self.on_first_token(self.request.id)
        self.last_lag = self.lag
        self.stamps.append(now)
        self.texts.append(text)
        if is_content and self.first_content is None:
            self.first_content = now
            self._reasoning_chunks = len(self.texts) - 1
        if len(self.texts) > self._next_check:
            self._check_length()

    def _first_choice(self, choices: Sequence[Choice | None]) -> Choice | None:
        """Return the choice with index 0 of several, or None; only that one is the answer."""
        present = [choice for choice in choices if choice]
        first = next((choice for choice in present if not whole_count(choice.index)), None)
        self.has_more_choices |= len(present) > (first is not None)
        return first

    def _check_length(self) -> None:
        """Fail a stream that goes on far beyond the requested length.

        It has both more chunks and more characters than that length can have, since a chunk may be
        a single character, and a long text in few chunks does not go on. Reasoning does not count:
        some servers add it to the requested length.
        """
        requested = self.request.max_new_tokens
        content = () if self.first_content is None else self.texts[self._reasoning_chunks :]
        most_characters = MARGIN_CHARACTERS + CHARACTERS_PER_TOKEN * requested
        is_long = len(content) > MARGIN_CHUNKS + requested
        if self.limits_length and is_long and sum(map(len, content)) > most_characters:
            self.fail(
                "too-many-tokens",
                f"the stream went on to {len(content)} chunks of text; {requested} tokens were "
                "requested: set `length_field` to the field that the server reads",
            )
        self._next_check = 2 * len(self.texts)

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
    reason = ""
    with suppress(ValueError):
        reason = read_chunk(body).error or ""
    reason = reason or body.decode(errors="replace").strip() or "no reason given"
    return reason[:MAX_REASON_LENGTH]
