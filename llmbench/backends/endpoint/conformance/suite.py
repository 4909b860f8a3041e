"""Check the load client against every behavior, and a server against the client's requirements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import ValidationError

from llmbench.backends import LoadShape, OpenContext, frozen_gc
from llmbench.backends.endpoint import Endpoint
from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.wire import TOKENS, Behavior
from llmbench.errors import InputError
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.schedule import Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.scenario.schema import ModelOptions

PROMPT = "Count upwards from one, in words."
LEAD_SECONDS = 0.02
LONG_TIMEOUTS: dict[str, Any] = {"first_token_timeout": 10.0, "total_timeout": 20.0}
SHORT_TIMEOUTS: dict[str, Any] = {"first_token_timeout": 0.5, "total_timeout": 1.0}
TIMEOUT_KINDS = ("timeout-first-token", "timeout-total")
UNKNOWN_MODEL = "a-model-that-does-not-exist"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: its name, its description, and the expected and found outcomes."""

    name: str
    about: str
    expected: str
    found: str

    @property
    def passed(self) -> bool:
        """Whether the found outcome is the expected one."""
        return self.expected == self.found


def exchange(stop_at_eos: bool = False, **options: Any) -> Record:  # noqa: FBT001, FBT002 (a scenario key)
    """Send a request for 8 tokens to an endpoint with the given options; return its record."""
    context = OpenContext(
        ModelOptions(source="served:"), LoadShape((1,), 1), stop_at_eos=stop_at_eos
    )
    backend = Endpoint(Endpoint.Options(**options))
    backend.lead_seconds = LEAD_SECONDS
    with backend.open(context) as server:
        request = Request(0, (), TOKENS, text=PROMPT)
        dispatch = Dispatch([request], Scheduled(np.zeros(1)), Stop(requests=1))
        (record,) = server.serve(dispatch, server.new_clock(), lambda: None)
    return record


# -- the client ------------------------------------------------------------------------------------


def check_client(url: str) -> Iterator[CheckResult]:
    """Check the load client against each behavior of the server at ``url``; yield the results."""
    with frozen_gc():  # otherwise each load would collect garbage
        for behavior in BEHAVIORS.values():
            yield _compared(behavior, provoke(url, behavior))


def provoke(url: str, behavior: Behavior) -> Record:
    """Return the record of a request to the adversarial server that triggers ``behavior``."""
    timeouts = SHORT_TIMEOUTS if behavior.error in TIMEOUT_KINDS else LONG_TIMEOUTS
    return exchange(url=url, model=behavior.name, **timeouts)


def _compared(behavior: Behavior, record: Record) -> CheckResult:
    tokens = None if behavior.tokens is None else record.output_tokens
    return CheckResult(
        behavior.name,
        behavior.description,
        _described(behavior.error, behavior.chunks, behavior.tokens),
        _described(record.error_kind, len(record.token_times), tokens),
    )


def _described(error: str | None, chunks: int, tokens: int | None) -> str:
    counted = "" if tokens is None else f", {tokens} tokens"
    return f"{error or 'a response'}, {chunks} chunks{counted}"


# -- a server --------------------------------------------------------------------------------------


def check_server(url: str, model: str | None = None) -> Iterator[CheckResult]:
    """Check that a server meets a load generator's requirements; yield the result of each check.

    Raises InputError for an invalid URL.
    """
    _check_url(url)
    with frozen_gc():
        for name, (about, expected, check) in CHECKS.items():
            try:
                outcome = check({"url": url, "model": model})
            except InputError as error:
                outcome = str(error)
            yield CheckResult(name, about, expected, outcome)


def _check_url(url: str) -> None:
    try:
        Endpoint.Options(url=url)
    except ValidationError as error:
        raise InputError(f"--url: {error.errors()[0]['msg']}") from None


ServerArguments = dict[str, Any]


def _outcome(arguments: ServerArguments, **more: Any) -> str:
    record = exchange(stop_at_eos=True, **arguments, **more)
    return f"{record.error_kind}: {record.error_message}" if record.error_kind else "a response"


def _forced(arguments: ServerArguments) -> str:
    return f"{exchange(**arguments).output_tokens} tokens"


def _chunks(arguments: ServerArguments) -> str:
    return f"{len(exchange(**arguments).token_times)} chunks"


def _unknown(arguments: ServerArguments) -> str:
    kind = exchange(**arguments, body={"model": UNKNOWN_MODEL}).error_kind or "a response"
    return "an HTTP error" if kind.startswith("http-4") else kind


CHECKS: dict[str, tuple[str, str, Callable[[ServerArguments], str]]] = {
    "chat-stream": ("a chat response is streamed, and [DONE] ends the stream",
                    "a response", _outcome),
    "chat-whole": ("a chat response can be sent unstreamed",
                   "a response", lambda a: _outcome(a, stream=False)),
    "completion-stream": ("a completion is streamed, and [DONE] ends the stream",
                          "a response", lambda a: _outcome(a, api="completions")),
    "without-usage": ("a stream without usage ends correctly",
                      "a response", lambda a: _outcome(a, usage=False)),
    "forced-length": ("`ignore_eos` forces the output length, and usage reports it",
                      f"{TOKENS} tokens", _forced),
    "one-token-a-chunk": ("every token is sent immediately, in a separate chunk",
                          f"{TOKENS} chunks", _chunks),
    "unknown-model": ("an unknown model name causes an HTTP error",
                      "an HTTP error", _unknown),
}  # fmt: skip
