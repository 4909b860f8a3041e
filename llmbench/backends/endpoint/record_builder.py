"""Turn answers into records once the load is over."""

from __future__ import annotations

from collections import Counter

from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.exchange import Answer, spread
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact
from llmbench.runs.request import Request


class RecordBuilder:
    """Counts the tokens of each answer, by the server's word or by the tokenizer.

    ``counts`` says which of them counted how many answers, and how many had several tokens to a
    chunk.
    """

    def __init__(self, context: OpenContext, tokenizer: Tokenizer) -> None:
        self._context = context
        self._tokenizer = tokenizer
        self.counts: Counter[str] = Counter()

    def record(self, answer: Answer) -> Record:
        """Write down one answer."""
        answer.judge(forced=not self._context.stop_at_eos)
        request, usage, fault = answer.request, answer.usage, answer.fault
        tokens = self._tokens(answer)
        prompt_tokens = usage.prompt_tokens if usage else None
        return Record.of(
            request,
            answer.due,
            answer.begun,
            answer.finish(tokens),
            prompt_tokens=self._asked(request) if prompt_tokens is None else prompt_tokens,
            token_times=answer.stamps,
            token_counts=spread(tokens, answer.texts),
            error_kind=fault.kind if fault else None,
            error_message=redact(fault.message) if fault else None,
            output_ids=self._output_ids(answer),
            connect_seconds=answer.connect_seconds,
            first_content=answer.first_content,
            retries=answer.retries,
        )

    def _asked(self, request: Request) -> int:
        """Count the tokens of a prompt; a session's has answers in it that came as text."""
        if not request.history:
            return len(request.prompt)
        said = "".join((*request.history, request.text or ""))
        return len(self._tokenizer.encode(said))

    def _tokens(self, answer: Answer) -> int:
        if not answer.texts:
            return 0
        counted = answer.counted
        if counted is None:
            self.counts["answers_counted_by_tokenizer"] += 1
            counted = len(self._tokenizer.encode("".join(answer.texts)))
            counted -= len(self._tokenizer.encode(""))
        else:
            self.counts["answers_counted_by_server"] += 1
        if counted != len(answer.texts):
            self.counts["answers_with_uneven_chunks"] += 1
        return counted

    def _output_ids(self, answer: Answer) -> tuple[int, ...] | None:
        if not self._context.keep_outputs:
            return None
        return tuple(self._tokenizer.encode(redact("".join(answer.texts))))
