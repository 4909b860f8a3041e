"""A request and its response, as they are recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmbench.backends.endpoint.reported_tokens import ReportedTokens
from llmbench.backends.endpoint.server_facts import ServerFacts
from llmbench.loads.dispatch import RequestOutcome
from llmbench.runs.record import Finish
from llmbench.runs.request import Request

ABORTED = ("error", "abort")  # finish reasons
ABANDONED = "abandoned"  # a fault's kind that is not an error
NO_TEXT = -1  # of tool calls in a chunk that has another text


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason a response is not complete: a kind, by which errors are counted, and a message.

    The kind is ABANDONED if the user gave up, else an error kind.
    """

    kind: str
    message: str


@dataclass(slots=True, eq=False)
class Answer:
    """A request and its response.

    Times are seconds on the run's clock. ``stamps`` and ``texts`` have one entry per chunk with
    text; ``first_lag`` and ``last_lag`` are the most that the first and the last stamp may be late.
    ``limits_length``: the request had a length; ``has_more_choices``: the response had choices
    besides the one with index 0, which is the answer; ``abandoned_at``: its user gave up then;
    ``server``: the index of the server that the last attempt was sent to. The first
    ``reasoning_chunks`` texts are reasoning. ``calls`` has the tool calls of each chunk, as JSON,
    with the index of the text that they are, or NO_TEXT.
    """

    request: Request
    due: float
    begun: float = 0.0
    connect_seconds: float | None = None
    retries: int = 0
    server: int = 0
    stamps: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    first_lag: float | None = None
    last_lag: float | None = None
    first_content: float | None = None
    reported: ReportedTokens = field(default_factory=ReportedTokens)
    facts: ServerFacts = field(default_factory=ServerFacts)
    limits_length: bool = True
    has_more_choices: bool = False
    abandoned_at: float | None = None
    finish_reason: str | None = None
    fault: Fault | None = None
    reasoning_chunks: int = 0
    calls: list[tuple[int, str]] = field(default_factory=list)

    @property
    def content(self) -> str:
        """The text of the response, without reasoning and tool calls."""
        return "" if self.first_content is None else self._text_from(self.reasoning_chunks)

    @property
    def spoken(self) -> str:
        """The part of the response that later turns continue: all but its reasoning."""
        return "".join(self.texts[self.reasoning_chunks :])

    @property
    def written(self) -> str:
        """The text of the response with its reasoning, without tool calls."""
        return self._text_from(0)

    def _text_from(self, first: int) -> str:
        called = {index for index, _ in self.calls}
        texts = enumerate(self.texts[first:], start=first)
        return "".join(text for index, text in texts if index not in called)

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

    @property
    def outcome(self) -> RequestOutcome:
        """The outcome of the request, as the dispatch needs it."""
        if self.abandoned_at is not None:
            return RequestOutcome(succeeded=False, abandoned=True, tokens=len(self.texts))
        if self.fault or not self.stamps:
            return RequestOutcome(succeeded=False)
        # reasoning is not part of the conversation
        answer = self.spoken if self.request.is_continued else ""
        tokens = self.counted or len(self.texts)
        return RequestOutcome(
            first_token=self.stamps[0], token_times=self.stamps, tokens=tokens, answer_text=answer
        )

    def finish(self, tokens: int) -> Finish:
        """Return the finish reason of a response with ``tokens`` output tokens."""
        if self.fault:
            return "error" if self.abandoned_at is None else "abandoned"
        if self.finish_reason:
            return "length" if self.finish_reason == "length" else "eos"
        return "length" if tokens >= self.request.max_new_tokens else "eos"
