"""One request and what comes back for it, stamp by stamp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmbench.backends.endpoint.openai_types import Chunk, Usage, read_chunk, said_in
from llmbench.backends.endpoint.sse import EventReader
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Finish
from llmbench.runs.request import Request

OK = 200
DONE = b"[DONE]"
EVENT_STREAM = "text/event-stream"
LONGEST_EVENT = 16 * 2**20
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request has no good answer: the kind is counted, the message is for people."""

    kind: str
    message: str


@dataclass(slots=True, eq=False)
class Answer:
    """A request and what came back for it.

    Times are seconds on the run's clock. ``stamps`` has an entry for each chunk that carried text,
    ``texts`` what it said.
    """

    request: Request
    due: float
    begun: float = 0.0
    connect_seconds: float | None = None
    retries: int = 0
    stamps: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    first_content: float | None = None
    usage: Usage | None = None
    finish_reason: str | None = None
    fault: Fault | None = None

    @property
    def counted(self) -> int | None:
        """Output tokens as the server counted them."""
        return self.usage.completion_tokens if self.usage else None

    def judge(self, *, forced: bool) -> None:
        """Find the fault of an answer that came whole: too few tokens."""
        if self.fault:
            return
        if not self.stamps:
            self.fault = Fault("too-few-tokens", "the answer is empty")
        elif forced and self.counted is not None and self.counted < self.request.max_new_tokens:
            self.fault = Fault(
                "too-few-tokens",
                f"{self.counted} of {self.request.max_new_tokens} tokens; the server ends answers "
                "by itself: set `stop_at_eos: true` to let it",
            )

    def finish(self, tokens: int) -> Finish:
        """Say how the answer ended, given how many tokens it has."""
        if self.fault:
            return "error"
        if self.finish_reason:
            return "length" if self.finish_reason == "length" else "eos"
        return "length" if tokens >= self.request.max_new_tokens else "eos"


@dataclass(slots=True, eq=False)
class Exchange(Answer):
    """A request on its way: fed by a connection with bytes and the moments they were read.

    A stream has to end with [DONE], or with a finish_reason where it ``needs_done`` not. The
    exchange is ``over`` when the answer is whole or ``fault`` is set.
    """

    streamed: bool = True
    needs_done: bool = True
    on_first_token: Callable[[int], None] | None = None
    payload: bytes = b""
    status: int | None = None
    retry_after: float | None = None
    done_at: float | None = None
    received: int = 0
    _events: EventReader = field(default_factory=EventReader)
    _plain: bytearray = field(default_factory=bytearray)
    _reads_events: bool = False
    _reasoned: int = 0

    @property
    def over(self) -> bool:
        """Whether the answer is whole or will never be."""
        return self.fault is not None or self.done_at is not None

    def fail(self, kind: str, message: str) -> None:
        """Note what went wrong; the first fault is the one that counts."""
        if not self.over:
            self.fault = Fault(kind, message)

    def begin(self, status: int, content_type: str) -> None:
        """Take in the head of the response."""
        self.status = status
        is_stream = self.streamed and content_type.startswith(EVENT_STREAM)
        self._reads_events = status == OK and is_stream

    def body(self, now: float, data: bytes) -> None:
        """Take in a part of the body, read at ``now``."""
        self.received += len(data)
        if not self._reads_events:
            self._plain += data
            return
        events = self._events.feed(data)
        for event in events:
            self._event(now, event)
        if not events and self._events.held > LONGEST_EVENT:
            self.fail("invalid-chunk", f"an event of more than {LONGEST_EVENT} bytes")

    def end(self, now: float) -> None:
        """Note that the response ended as HTTP says that it should."""
        if self.over:
            return
        if self.status != OK:
            self.fail(f"http-{self.status}", _reason(bytes(self._plain)))
        elif self._reads_events:
            self._end_of_stream(now)
        elif self.streamed:
            self._refuse_plain()
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
        if not chunk.choices:
            return
        choice = chunk.choices[0]  # one answer is all that is ever asked for
        if choice.finish_reason:
            self.finish_reason = choice.finish_reason
        content = choice.content
        if text := content or choice.reasoning:
            if self.on_first_token and not self.stamps:
                self.on_first_token(self.request.id)
            self.stamps.append(now)
            self.texts.append(text)
            if content and self.first_content is None:
                self.first_content = now
                self._reasoned = len(self.texts) - 1

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

    def _refuse_plain(self) -> None:
        """A stream was asked for and something else came: an error that says so, or a mistake."""
        if self._chunk(bytes(self._plain)):
            self.fail("invalid-response", "the answer is not streamed; set `stream: false`")

    @property
    def outcome(self) -> RequestOutcome:
        """How it came back, as far as the load goes by it."""
        if self.fault or not self.stamps:
            return RequestOutcome(succeeded=False)
        # what was thought is no part of the conversation
        answer = "".join(self.texts[self._reasoned :]) if self.request.turns else ""
        tokens = self.counted or len(self.texts)
        return RequestOutcome(
            first_token=self.stamps[0], token_times=self.stamps, tokens=tokens, answer_text=answer
        )


def _reason(body: bytes) -> str:
    try:
        chunk = read_chunk(body)
    except ValueError:
        return body[:LONGEST_REASON].decode(errors="replace").strip() or "no reason given"
    reason = chunk.failure or (said_in(chunk.message) if chunk.message else "")
    return (reason or body.decode(errors="replace").strip())[:LONGEST_REASON]


def spread(total: int, texts: Sequence[str]) -> tuple[int, ...]:
    """Share tokens out among chunks: one each, the rest by length of text.

    Where there are fewer tokens than chunks (a character may take several chunks and one token),
    the first chunks get one each.
    """
    chunks = len(texts)
    if total <= chunks:
        return tuple(int(place < total) for place in range(chunks))
    lengths = [len(text) for text in texts]
    whole, shared, counts = sum(lengths), 0, []
    seen = 0
    for length in lengths:
        seen += length
        upto = (total - chunks) * seen // whole
        counts.append(1 + upto - shared)
        shared = upto
    return tuple(counts)
