"""An answer that grows by chunks of text, up to its limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmbench.backends.endpoint import limits
from llmbench.backends.endpoint.answer import ABANDONED, NO_TEXT, Answer, Fault

MARGIN_CHUNKS, MARGIN_CHARACTERS, CHARACTERS_PER_TOKEN = 64, 1024, 16


@dataclass(slots=True, eq=False)
class GrowingAnswer(Answer):
    """An answer whose text is being read.

    ``lag`` is the most that the current read time may be late. The response may have
    ``max_events`` more events and ``max_text_length`` characters of text. It is ``over`` when it is
    complete or ``fault`` is set.
    """

    on_first_token: Callable[[int], None] | None = None
    max_events: int = limits.EVENTS
    max_text_length: int = limits.TEXT_LENGTH
    text_length: int = 0
    lag: float = 0.0
    done_at: float | None = None
    _next_check: int = 0

    def __post_init__(self) -> None:
        """Set the number of chunks from which the length of the response is checked."""
        self._next_check = self.request.max_new_tokens + MARGIN_CHUNKS
        if self.request.patience and self.request.patience.tokens:
            self._next_check = self.request.patience.tokens - 1

    @property
    def over(self) -> bool:
        """Whether the response is complete or the request has failed."""
        return self.fault is not None or self.done_at is not None

    @property
    def excess_bytes(self) -> int:
        """The most memory of the text beyond that of a correct response."""
        chunks, expected = len(self.texts), self.request.max_new_tokens
        if self.first_content is None or self.reasoning_chunks or not self.limits_length:
            expected += limits.UNREQUESTED_TOKENS
        characters = self.text_length - limits.CHUNK_LENGTH * chunks
        taken = limits.CHARACTER_BYTES * characters + limits.CHUNK_BYTES * chunks
        return max(0, taken - limits.TEXT_BYTES_PER_TOKEN * expected)

    def fail(self, kind: str, message: str) -> None:
        """Set the fault, unless the exchange is over."""
        if not self.over:
            self.fault = Fault(kind, limits.brief(message))

    def abandon(self, now: float) -> None:
        """End the request as its user gives up, unless the exchange is over."""
        if not self.over:
            self.abandoned_at = now
            self.fault = Fault(ABANDONED, "the user gave up")

    def _count_events(self, count: int) -> None:
        self.max_events -= count
        if self.max_events < 0:
            self.fail("too-large", f"the response has too many events for {self._requested}")

    def _add_text(self, now: float, text: str, *, is_content: bool) -> None:
        length = self.text_length + len(text) + limits.CHUNK_LENGTH
        if length > self.max_text_length:
            self._fail_long_text()
            return
        self.text_length = length
        if not self.stamps:
            self.first_lag = self.lag
            if self.on_first_token:
                self.on_first_token(self.request.id)
        self.last_lag = self.lag
        self.stamps.append(now)
        self.texts.append(text)
        if is_content and self.first_content is None:
            self.first_content = now
            self.reasoning_chunks = len(self.texts) - 1
        if len(self.texts) > self._next_check:
            self._check_length(now)

    def _add_texts(self, now: float, texts: Sequence[str], *, is_content: bool) -> None:
        """Add the texts of chunks that were read at once."""
        count = len(texts)
        self._count_events(count)
        length = self.text_length + sum(map(len, texts)) + count * limits.CHUNK_LENGTH
        is_short = length <= self.max_text_length and len(self.texts) + count <= self._next_check
        if is_short and self.stamps and not (is_content and self.first_content is None):
            self.text_length, self.last_lag = length, self.lag
            self.stamps += [now] * count
            self.texts += texts
            return
        for text in texts:
            if self.fault is None:
                self._add_text(now, text, is_content=is_content)

    def _add_calls(self, calls: str, text_index: int) -> None:
        """Keep the tool calls of a chunk; one that has another text grows by them, too."""
        if self.over:
            return
        self.text_length += len(calls) if text_index == NO_TEXT else 0
        if self.text_length > self.max_text_length:
            self._fail_long_text()
            return
        self.calls.append((text_index, calls))

    def _check_length(self, now: float) -> None:
        """End a stream whose user gives up, or that goes on far beyond the requested length.

        It has both more chunks and more characters than that length can have, since a chunk may be
        a single character, and a long text in few chunks does not go on. Reasoning does not count:
        some servers add it to the requested length.
        """
        if self.request.patience and self.request.patience.tokens:
            self.abandon(now)
            return
        requested = self.request.max_new_tokens
        content = () if self.first_content is None else self.texts[self.reasoning_chunks :]
        most_characters = MARGIN_CHARACTERS + CHARACTERS_PER_TOKEN * requested
        is_long = len(content) > MARGIN_CHUNKS + requested
        if self.limits_length and is_long and sum(map(len, content)) > most_characters:
            self.fail(
                "too-many-tokens",
                f"the stream went on to {len(content)} chunks of text; {requested} tokens were "
                "requested: set `length_field` to the field that the server reads",
            )
        self._next_check = 2 * len(self.texts)

    def _fail_long_text(self) -> None:
        self.fail(
            "too-large",
            f"the text has more than {self.max_text_length:,} characters for {self._requested}",
        )

    @property
    def _requested(self) -> str:
        return f"{self.request.max_new_tokens} requested tokens"
