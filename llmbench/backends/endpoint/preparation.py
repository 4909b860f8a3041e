"""What is done before a load: prompts are written, and the server's prompt cache is set up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmbench import models
from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.exchange import Answer
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.backends.endpoint.openai_types import Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.prompt_cache import empty
from llmbench.backends.endpoint.prompt_writer import PromptWriter
from llmbench.errors import MeasurementError
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import Closed
from llmbench.loads.dispatch import Dispatch
from llmbench.loads.stopping import Stop
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request
from llmbench.scenario.rng import stream

PROBE = "Hello."
USERS = 8
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Prepared:
    """Requests as they are sent, and how many tokens the server adds to a prompt."""

    requests: list[Request]
    template_tokens: int


@dataclass(frozen=True, slots=True)
class Preparation:
    """Prepares a server for a load."""

    options: EndpointOptions
    context: OpenContext
    target: Target
    payload: Payload

    def prepare(self, requests: Sequence[Request]) -> Prepared:
        """Write the prompts, and bring the server's prompt cache into its requested state.

        Raises MeasurementError if the server refuses.
        """
        cache, on_stage = self.options.cache, self.context.on_stage
        on_stage("preparing the prompts")
        tokenizer = models.load_tokenizer(self.context.model)
        salts = np.random.default_rng() if cache.prompts == "unique" else None
        writer = PromptWriter(tokenizer, salts)
        written = [writer.written(request) for request in requests]
        template_tokens = self._template_tokens(tokenizer)
        if cache.before == "reset" and self.options.reset:
            on_stage("emptying the prompt cache")
            headers = self.options.credentials()
            empty(self.options.root, self.options.reset.path, headers, self.target.tls)
        if cache.prime:
            on_stage("priming the prompt cache")
            written = self._primed(written, cache.prime)
        return Prepared(written, template_tokens)

    def _template_tokens(self, tokenizer: Tokenizer) -> int:
        """Return how many tokens the server adds to a prompt; 0 if it does not say."""
        (answer,) = self._first_tokens([Request(0, (), 1, text=PROBE)])
        counted = answer.usage.prompt_tokens if answer.usage else None
        return max(0, (counted or 0) - len(tokenizer.encode_more(PROBE)))

    def _primed(self, requests: list[Request], share: float) -> list[Request]:
        """Send a share of the prompts once, evenly spread; mark them as shared with the load."""
        counts = np.ceil(share * np.arange(len(requests) + 1) - ROUNDING)
        chosen = np.flatnonzero(np.diff(counts))
        for answer in self._first_tokens([requests[index] for index in chosen]):
            if answer.fault:
                raise MeasurementError(
                    f"endpoint: cache: priming failed: {answer.fault.message}; correct the error, "
                    "or remove `cache.prime`"
                )
        primed = list(requests)
        for index in chosen:
            primed[index] = replace(requests[index], shared=len(requests[index].prompt))
        return primed

    def _first_tokens(self, requests: Sequence[Request]) -> Sequence[Answer]:
        """Send requests for one token each, a few at a time, and return the responses."""
        pool = [
            replace(request, id=index, max_new_tokens=1, turns=())
            for index, request in enumerate(requests)
        ]
        users = Closed(Closed.Options(concurrency=USERS)).arrivals(Stop(), stream(0, "arrivals"))
        dispatch = Dispatch(pool, users, Stop(requests=len(pool)))
        return serve(self.target, self.payload, dispatch, MonotonicClock()).answers
