"""Turn exchanges into records once the load is over."""

from __future__ import annotations

from collections import Counter

from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.exchange import Exchange, spread
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact
from llmbench.runs.request import Request


class RecordBuilder:
    """Counts the tokens of each exchange, by the server's word or by the tokenizer.

    ``counts`` says which of them counted how many answers, and how many had several tokens to a
    chunk.
    """

    def __init__(self, context: OpenContext, tokenizer: Tokenizer) -> None:
        self._context = context
        self._tokenizer = tokenizer
        self.counts: Counter[str] = Counter()

    def record(self, exchange: Exchange) -> Record:
        """Write down one exchange."""
        exchange.judge(forced=not self._context.stop_at_eos)
        request, usage, fault = exchange.request, exchange.usage, exchange.fault
        tokens = self._tokens(exchange)
        prompt_tokens = usage.prompt_tokens if usage else None
        return Record.of(
            request,
            exchange.due,
            exchange.begun,
            exchange.finish(tokens),
            prompt_tokens=self._asked(request) if prompt_tokens is None else prompt_tokens,
            token_times=exchange.stamps,
            token_counts=spread(tokens, exchange.texts),
            error_kind=fault.kind if fault else None,
            error_message=redact(fault.message) if fault else None,
            output_ids=self._output_ids(exchange),
            connect_seconds=exchange.connect_seconds,
            first_content=exchange.first_content,
            retries=exchange.retries,
        )

    def _asked(self, request: Request) -> int:
        """Count the tokens of a prompt; a session's has answers in it that came as text."""
        if not request.history:
            return len(request.prompt)
        said = "".join((*request.history, request.text or ""))
        return len(self._tokenizer.encode(said))

    def _tokens(self, exchange: Exchange) -> int:
        if not exchange.texts:
            return 0
        counted = exchange.counted
        if counted is None:
            self.counts["answers_counted_by_tokenizer"] += 1
            counted = len(self._tokenizer.encode("".join(exchange.texts)))
            counted -= len(self._tokenizer.encode(""))
        else:
            self.counts["answers_counted_by_server"] += 1
        if counted != len(exchange.texts):
            self.counts["answers_with_uneven_chunks"] += 1
        return counted

    def _output_ids(self, exchange: Exchange) -> tuple[int, ...] | None:
        if not self._context.keep_outputs:
            return None
        return tuple(self._tokenizer.encode(redact("".join(exchange.texts))))
