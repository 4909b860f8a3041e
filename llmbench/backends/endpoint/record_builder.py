"""Builds records from responses after the load."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np

from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.prompt_cache import unasked_tokens
from llmbench.backends.endpoint.reported_tokens import ReportedTokens
from llmbench.backends.endpoint.tool_calls import assembled
from llmbench.models.tokenizing import Tokenizer
from llmbench.quality.validity import Validity, judge
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact
from llmbench.runs.request import Request

MAX_JUDGING_SECONDS = 60.0  # of all answers of a load
UNJUDGED = Validity(None)
TOO_MANY = f"the first answers took {MAX_JUDGING_SECONDS:.0f} s to validate"
SLACK = 4  # the count of a server may exceed that of the tokenizer by a quarter


class RecordBuilder:
    """Builds records, with token counts from the server's usage, else from the tokenizer.

    ``template_tokens`` is how many tokens the server adds to a prompt. ``counts`` has the numbers
    of responses with tokens counted by the server, with tokens counted by the tokenizer, with
    impossible counts of the server, with several choices, with unequal numbers of chunks and
    tokens, and with a report of cached tokens; and, of all measured prompts but later turns, the
    numbers of tokens and of cached ones that nobody asked for. ``length_errors`` has the relative
    error of each prompt that was made to a length, by the server's count; ``excess`` has the
    numbers of tokens of each response that is longer than requested, and of requested ones.
    ``urls`` are those of the servers; a record has its own if there are several.
    """

    def __init__(
        self,
        context: OpenContext,
        tokenizer: Tokenizer,
        template_tokens: int,
        urls: Sequence[str] = (),
    ) -> None:
        self._context = context
        self._tokenizer = tokenizer
        self._template_tokens = template_tokens
        self._urls = urls
        self.counts: Counter[str] = Counter()
        self.length_errors: list[float] = []
        self.excess: list[tuple[int, int]] = []
        self._judging_seconds = 0.0

    def record(self, answer: Answer) -> Record:
        """Return the record of one request and its response."""
        answer.judge(forced=not self._context.stop_at_eos)
        request = answer.request
        fault = answer.fault if answer.abandoned_at is None else None
        reported, tokens = self._counted(answer)
        prompt_tokens = reported.prompt
        if prompt_tokens is None:
            prompt_tokens = self._prompt_tokens(request)
        elif request.has_exact_length and not request.turn:
            self.length_errors.append(prompt_tokens / len(request.prompt) - 1)
        self._count_cached(answer, prompt_tokens, reported.cached)
        self._count_oddities(answer, reported, tokens)
        validity = self._validity(answer)
        return Record.of(
            request,
            answer.due,
            answer.begun,
            answer.finish(tokens),
            prompt_tokens=prompt_tokens,
            token_times=answer.stamps,
            token_counts=spread_tokens(tokens, answer.texts),
            error_kind=fault.kind if fault else None,
            error_message=redact(fault.message) if fault else None,
            output_ids=self._output_ids(answer),
            connect_seconds=answer.connect_seconds,
            first_content=answer.first_content,
            retries=answer.retries,
            first_stamp_lag=answer.first_lag,
            last_stamp_lag=answer.last_lag,
            cached_tokens=reported.cached,
            abandoned_at=answer.abandoned_at,
            valid=validity.is_valid,
            invalid_reason=validity.reason,
            url=self._urls[answer.server] if len(self._urls) > 1 else None,
            **answer.facts.possible(tokens),
        )

    def _validity(self, answer: Answer) -> Validity:
        """Return whether a complete response has the form that its request asks for."""
        constraint = answer.request.constraint
        if constraint is None or answer.fault:
            return UNJUDGED
        if self._judging_seconds > MAX_JUDGING_SECONDS:
            return Validity(None, TOO_MANY)
        began = time.monotonic()
        calls = assembled(text for _, text in answer.calls)
        is_cut = answer.finish_reason == "length"
        validity = judge(constraint, answer.content, calls, is_cut=is_cut)
        self._judging_seconds += time.monotonic() - began
        return validity

    def _count_cached(self, answer: Answer, prompt_tokens: int, cached: int | None) -> None:
        request = answer.request
        if request.phase == "warmup" or request.turn or answer.fault:
            return  # later turns find the history of their session in the cache
        self.counts["judged_prompt_tokens"] += prompt_tokens
        if cached is not None:
            unasked = unasked_tokens(request, prompt_tokens, cached, self._template_tokens)
            self.counts["answers_with_cached_tokens"] += 1
            self.counts["unasked_cached_tokens"] += unasked

    def _count_oddities(self, answer: Answer, reported: ReportedTokens, tokens: int) -> None:
        """Count responses that no correct server would send."""
        if not answer.texts:
            return
        if reported != answer.reported:
            self.counts["answers_with_impossible_usage"] += 1
        if answer.has_more_choices:
            self.counts["answers_with_more_choices"] += 1
        requested = answer.request.max_new_tokens
        confirmed = max(len(answer.texts), reported.output or 0)  # a tokenizer may be foreign
        is_longer = min(tokens, confirmed) > requested
        if is_longer and answer.limits_length and not answer.fault:
            self.excess.append((tokens, requested))

    def _prompt_tokens(self, request: Request) -> int:
        """Return the prompt's length in tokens, with the text of the session's earlier turns."""
        if not request.history:
            return len(request.prompt)
        return len(self._tokenizer.encode(request.whole_text))

    def _counted(self, answer: Answer) -> tuple[ReportedTokens, int]:
        """Return the possible counts of the server, and the number of output tokens."""
        reported, by_tokenizer = answer.possible(), 0
        if not answer.texts:
            return reported, 0
        if reported.output is None:
            by_tokenizer = len(self._tokenizer.encode("".join(answer.texts)))
            by_tokenizer -= len(self._tokenizer.encode(""))
            reported = answer.possible(by_tokenizer + by_tokenizer // SLACK)
        tokens = by_tokenizer if reported.output is None else reported.output
        if answer.abandoned_at is not None:  # the server reports its count with the last token
            return reported, tokens
        source = "tokenizer" if reported.output is None else "server"
        self.counts[f"answers_counted_by_{source}"] += 1
        if tokens != len(answer.texts):
            self.counts["answers_with_uneven_chunks"] += 1
        return reported, tokens

    def _output_ids(self, answer: Answer) -> tuple[int, ...] | None:
        if not self._context.keep_outputs:
            return None
        return tuple(self._tokenizer.encode(redact("".join(answer.texts))))


def spread_tokens(total: int, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the number of tokens of each chunk: one, plus a part proportional to its text length.

    With fewer tokens than chunks (a token can be part of a character), the first chunks get one
    token each.
    """
    chunks = len(texts)
    if total <= chunks or not chunks:
        return (1,) * min(total, chunks) + (0,) * (chunks - total)
    bounds = np.cumsum([len(text) for text in texts])
    shares = (total - chunks) * bounds // bounds[-1]
    return tuple((1 + np.diff(shares, prepend=0)).tolist())
