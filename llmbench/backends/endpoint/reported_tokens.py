"""The token counts that a server reports in one response, read from whatever it sends."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmbench.runs.request import Request

MAX_COUNT = 2**53  # a larger count is read as this one; all JSON readers agree up to it
MAX_UNLIMITED_OUTPUT = 1_000_000  # without a requested length, which limits the output
MAX_TEMPLATE = 100_000  # what a server may add to a prompt, such as tools
BYTES_PER_CHARACTER = 4  # in UTF-8; a token has one byte or more


@dataclass(slots=True)
class ReportedTokens:
    """The last reported numbers of prompt, output and cached tokens; None if not reported.

    ``decreased``: a later number of output tokens was smaller than an earlier one.
    """

    prompt: int | None = None
    output: int | None = None
    cached: int | None = None
    decreased: bool = False

    def add(self, usage: Any, timings: Any) -> None:
        """Read OpenAI's ``usage`` and llama.cpp's ``timings`` of one chunk."""
        prompt = whole_count(member(usage, "prompt_tokens"))
        if prompt is not None:
            self.prompt = prompt
        output = whole_count(member(usage, "completion_tokens"))
        if output is not None:
            self.decreased |= self.output is not None and output < self.output
            self.output = output
        cached = whole_count(member(member(usage, "prompt_tokens_details"), "cached_tokens"))
        if cached is None:
            cached = whole_count(member(timings, "cache_n"))
        if cached is not None:
            self.cached = cached

    def possible(
        self, request: Request, text_tokens: int, *, limits_length: bool
    ) -> ReportedTokens:
        """Return the numbers without those that are impossible for a text of about that length.

        Impossible are output tokens that are 0 for a text, have decreased, or exceed both the
        requested length, if it ``limits_length``, and ``text_tokens``; prompt tokens that are
        0 or exceed the bytes of the prompt; and more cached tokens than prompt tokens.
        """
        prompt, output, cached = self.prompt, self.output, self.cached
        requested = request.max_new_tokens if limits_length else MAX_UNLIMITED_OUTPUT
        if output is not None and not bool(text_tokens) <= output <= max(requested, text_tokens):
            output = None
        most = _most_prompt_tokens(request)
        if prompt is not None and not 0 < prompt <= most:
            prompt = None
        if cached is not None and cached > (prompt or most):
            cached = None
        return ReportedTokens(prompt, None if self.decreased else output, cached, self.decreased)


def whole_count(value: Any) -> int | None:
    """Return a count from a server as an integer from 0 to MAX_COUNT.

    Whole floats and numbers in text are accepted; the result is None for anything else.
    """
    if isinstance(value, str):
        with suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(min(max(value, 0), MAX_COUNT))


def member(container: Any, name: str) -> Any:
    """Return a member of a JSON object; None if there is none, or no object."""
    return container.get(name) if isinstance(container, dict) else None


def _most_prompt_tokens(request: Request) -> int:
    return MAX_TEMPLATE + len(request.prompt) + BYTES_PER_CHARACTER * len(request.whole_text)
