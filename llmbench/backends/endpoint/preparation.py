"""What is done before a load: prompts are written, and the server's prompt cache is set up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from llmbench import models
from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.answer import Answer, Fault
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.length_field import other_length_field, rejects
from llmbench.backends.endpoint.measured_serve import serve
from llmbench.backends.endpoint.openai_types import Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.prompt_cache import empty
from llmbench.backends.endpoint.prompt_writer import PromptWriter, TokenCount, random_letters
from llmbench.errors import MeasurementError
from llmbench.loads.clock import MonotonicClock
from llmbench.loads.closed import one_after_another
from llmbench.models.tokenizing import Tokenizer
from llmbench.runs.request import Request

USERS = 8
REFUSED = re.compile(r"http-4(?!08|25|29)\d\d")  # not: timed out, too early, too many requests
ROUNDING = 1e-9
PROBED = 0.5  # the share of the longest prompt that a probe has
SHORTEST_PROBE = 16


@dataclass(slots=True)
class Preparation:
    """Prepares a server for a load; probes and salts are drawn from ``rng``.

    The ``payload`` gets another length field if the server rejects the first and names that one.
    """

    options: EndpointOptions
    context: OpenContext
    target: Target
    payload: Payload
    rng: np.random.Generator = field(default_factory=np.random.default_rng)

    def prepare(self, requests: Sequence[Request]) -> tuple[list[Request], TokenCount]:
        """Write the prompts, and bring the server's prompt cache into its requested state.

        Returns the requests as they are sent, and how the server counts tokens. Raises
        MeasurementError if the server refuses.
        """
        cache, on_stage = self.options.cache, self.context.on_stage
        on_stage("preparing the prompts")
        tokenizer = models.load_tokenizer(self.context.model)
        count = self._count(tokenizer, requests)
        salts = self.rng if cache.prompts == "unique" else None
        writer = PromptWriter(tokenizer, salts, count)
        written = [writer.written(request) for request in requests]
        self.empty_cache()
        if cache.prime:
            on_stage("priming the prompt cache")
            written = self._primed(written, cache.prime)
        return written, count

    def empty_cache(self) -> None:
        """Empty the server's prompt cache if it is to be empty before a load.

        Raises MeasurementError if the server refuses.
        """
        options = self.options
        if options.cache.before != "reset" or not options.reset:
            return
        self.context.on_stage("emptying the prompt cache")
        empty(
            options.root,
            self.target.address,
            options.reset.path,
            options.credentials(),
            self.target.tls,
        )

    def refusal(self) -> Fault | None:
        """Return why the server refuses a short request; None if it answers or fails otherwise."""
        (answer,) = self._probed([Request(0, (), 1, text=random_letters(self.rng).rstrip())])
        is_refused = answer.fault and REFUSED.fullmatch(answer.fault.kind)
        return answer.fault if is_refused else None

    def _count(self, tokenizer: Tokenizer, requests: Sequence[Request]) -> TokenCount:
        """Find out how the server counts tokens, from a short and a longer prompt of the load.

        A salt keeps the prompts of the load out of the server's prompt cache.
        """
        ids = max((request.prompt for request in requests), key=len)
        ids = ids[: max(SHORTEST_PROBE, int(PROBED * len(ids)))]
        salts = [random_letters(self.rng) for _ in range(2)]
        texts = [salts[0].rstrip(), (salts[1] + tokenizer.decode(ids)).rstrip()]
        asked = [len(tokenizer.encode_more(text)) for text in texts]
        counted = _counted(self._probed([Request(0, (), 1, text=text) for text in texts]))
        count = TokenCount.of(list(zip(asked, counted, strict=True)))
        takes_ids = self.options.api == "completions" and count.is_exact and self._takes(ids)
        return replace(count, takes_ids=takes_ids)

    def _takes(self, ids: tuple[int, ...]) -> bool:
        """Return whether the server takes token ids instead of text and counts each as a token."""
        (counted,) = _counted(self._first_tokens([Request(0, ids, 1)]))
        return counted == len(ids)

    def _probed(self, probes: Sequence[Request]) -> list[Answer]:
        """Return the responses to probes, with another length field if the server asks for it."""
        answers = self._first_tokens(probes)
        name = other_length_field(answers, self.payload.length_field)
        if name is None:
            return answers
        first, self.payload = self.payload, replace(self.payload, length_field=name)
        renamed = self._first_tokens(probes)
        if rejects(renamed, name):
            self.payload = first
            return answers
        return renamed

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

    def _first_tokens(self, requests: Sequence[Request]) -> list[Answer]:
        """Return the responses, in order, to requests for one token each, sent a few at a time."""
        body = {key: value for key, value in self.payload.body.items() if key != "min_tokens"}
        pool = [
            replace(request, id=index, max_new_tokens=1, turns=(), constraint=None)
            for index, request in enumerate(requests)
        ]
        payload = replace(self.payload, body=body)
        served = serve(self.target, payload, one_after_another(pool, users=USERS), MonotonicClock())
        return sorted(served.answers, key=lambda answer: answer.request.id)


def _counted(answers: Sequence[Answer]) -> list[int | None]:
    """Return the server's token count of each prompt; None if it does not report a possible one."""
    return [answer.possible().prompt for answer in answers]
