"""Behaviors of servers whose JSON is odd: valid answers in unusual forms, wrong counts, errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmbench.backends.endpoint.conformance import wire
from llmbench.backends.endpoint.conformance.wire import WORDS, Behavior, chunked, delta, done, event

TEXT = [event(delta(word)) for word in WORDS]
ENDING = [event(wire.usage()), done()]
NOTHING = [event(b""), event(b"   "), event(b"null"), event({}), event({"choices": None})]
RUNAWAY = 2000  # chunks
CUT_AT = 295  # chunks: the first check that finds too many characters, after 73 and 147


def _usage(count: Any) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": count}})


def _choice(index: int, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, **fields}]}


def _texts(deltas: Iterable[dict[str, Any]]) -> list[bytes]:
    return [event(chunk) for chunk in deltas]


CORRECT = (
    Behavior("nulls", "empty, blank and null events, and null instead of lists",
             chunked([*NOTHING, *TEXT, event({**wire.usage(), "choices": None}), *NOTHING,
                      done()])),
    Behavior("done-with-blanks", "blanks around [DONE]",
             chunked([*TEXT, ENDING[0], event(b"  [DONE] \t")])),
    Behavior("quoted-done", "[DONE] as a JSON string",
             chunked([*TEXT, ENDING[0], event("[DONE]")])),
    Behavior("text-parts", "the text is a list of parts, as Mistral's",
             chunked([*_texts(_choice(0, delta={"content": [{"type": "text", "text": word}]})
                              for word in WORDS), *ENDING])),
    Behavior("thinking-parts", "reasoning is in parts of the content, as Mistral's",
             chunked([*_texts(_choice(0, delta={"content": [
                 {"type": "thinking", "thinking": [{"type": "text", "text": word}]}]})
                 for word in WORDS[:3]), *TEXT[3:], *ENDING])),
    Behavior("float-counts", "token counts are floats", chunked([*TEXT, _usage(8.0), done()])),
    Behavior("not-a-number", "NaN and -Infinity, which JSON lacks",
             chunked([*_texts(delta(word, logprobs=[float("nan"), float("-inf")])
                              for word in WORDS), *ENDING])),
    Behavior("lone-surrogate", "half of a surrogate pair in the text",
             chunked([event(rb'{"choices": [{"delta": {"content": "\ud83d"}}]}'), *TEXT[1:],
                      *ENDING])),
    Behavior("empty-error", "an empty error in each event",
             chunked([*_texts(delta(word, error="") for word in WORDS), *ENDING])),
    Behavior("empty-lists", "empty lists instead of missing objects",
             chunked([*TEXT, event({**_choice(0, delta=[], finish_reason="length"), "usage": []}),
                      *ENDING])),
    Behavior("two-choices", "two choices, of which the one with index 0 is the answer",
             chunked([*_texts(_choice(index, delta={"content": word})
                              for word in WORDS for index in (1, 0)), *ENDING])),
    Behavior("usage-of-zero", "usage reports 0 tokens", chunked([*TEXT, _usage(0), done()]),
             tokens=None),
    Behavior("usage-taken-back", "usage reports 8 tokens, and then 3",
             chunked([*TEXT, _usage(8), _usage(3), done()]), tokens=None),
    Behavior("usage-beyond-64-bits", "usage reports 10^22 tokens",
             chunked([*TEXT, _usage(10**22), done()]), tokens=None),
    Behavior("usage-beyond-request", "usage reports 5·10^9 tokens",
             chunked([*TEXT, _usage(5 * 10**9), done()]), tokens=None),
    Behavior("longer", "the response has more tokens than requested",
             chunked([*TEXT, *TEXT[:4], _usage(12), done()]), chunks=12, tokens=12),
)  # fmt: skip

FAULTY = (
    Behavior("runaway", "the stream goes on after the requested length",
             chunked([event(delta(" word")) * RUNAWAY], ended=False),
             "too-many-tokens", CUT_AT, None),
    Behavior("plain-error", "an error mid-stream as plain text",
             chunked([*TEXT[:3], event(b"upstream connect error"), done()]),
             "server-error", 3, None),
    Behavior("error-list", "errors mid-stream as a list",
             chunked([*TEXT[:3], event([{"error": {"message": "out of memory"}}]), done()]),
             "server-error", 3, None),
    Behavior("unnamed-error", "an error mid-stream without `error`",
             chunked([*TEXT[:3], event({"detail": "out of memory"}), done()]),
             "server-error", 3, None),
    Behavior("aborted", "the finish_reason is an error",
             chunked([*TEXT[:3], event(wire.last("error")), done()]), "server-error", 3, None),
)  # fmt: skip
