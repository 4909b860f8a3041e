"""What is done before a load: prompts are written, and the server's prompt cache is set up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

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
        """Empty the prompt caches of the backend's servers if they are to be empty before a load.

        Raises MeasurementError if a server refuses.
        """
        options, target = self.options, self.target
        if options.cache.before != "reset" or not options.reset:
            return
        self.context.on_stage("emptying the prompt cache")
        for upstream in target.upstreams[: target.balance.servers]:
            tls = upstream.tls(target.tls)
            headers, path = options.credentials(), options.reset.path
            empty(upstream.root, upstream.address, path, headers, tls)

    def refusals(self) -> Iterator[tuple[str, Fault]]:
        """Yield the URL of each server that refuses a short request, and why.

        A server may answer or fail otherwise. Each class has a request of its own.
        """
        pinned = self.target.balance.pinned
        for server, upstream in enumerate(self.target.upstreams):
            probes = [self._short()] if server < self.target.balance.servers else []
            for name, route in self.context.routes.items():
                if pinned.get(name, 0) == server:
                    model = route.model.names[0] if route.model else None
                    probes.append(replace(self._short(), request_class=name, model=model))
            for answer in self._probed(probes, server):
                if answer.fault and REFUSED.fullmatch(answer.fault.kind):
                    yield upstream.url, answer.fault

    def _short(self) -> Request:
        return Request(0, (), 1, text=random_letters(self.rng).rstrip())

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

    def _probed(self, probes: Sequence[Request], server: int = 0) -> list[Answer]:
        """Return the responses to probes, with another length field if the server asks for it."""
        answers = self._first_tokens(probes, server)
        name = other_length_field(answers, self.payload.length_field)
        if name is None:
            return answers
        first, self.payload = self.payload, replace(self.payload, length_field=name)
        renamed = self._first_tokens(probes, server)
        if rejects(renamed, name):
            self.payload = first
            return answers
        return renamed

    def _primed(self, requests: list[Request], share: float) -> list[Request]:
        """Send a share of the prompts, evenly spread, once to every server that may get them.

        They are marked as shared with the load.
        """
        counts = np.ceil(share * np.arange(len(requests) + 1) - ROUNDING)
        chosen = np.flatnonzero(np.diff(counts))
        for server in range(len(self.target.upstreams)):
            may_get = partial(self.target.balance.may_get, server)
            primes = [requests[i] for i in chosen if may_get(requests[i].request_class)]
            for answer in self._first_tokens(primes, server):
                if answer.fault:
                    raise MeasurementError(
                        f"endpoint: cache: priming failed: {answer.fault.message}; correct the "
                        "error, or remove `cache.prime`"
                    )
        primed = list(requests)
        for index in chosen:
            primed[index] = replace(requests[index], shared=len(requests[index].prompt))
        return primed

    def _first_tokens(self, requests: Sequence[Request], server: int = 0) -> list[Answer]:
        """Return the responses, in order, to requests for one token each, sent a few at a time."""
        if not requests:
            return []
        pool = [
            replace(request, id=index, max_new_tokens=1, turns=(), constraint=None)
            for index, request in enumerate(requests)
        ]
        payload, users = self.payload.only(server).without("min_tokens"), USERS
        load = one_after_another(pool, users=users)
        served = serve(self.target.only(server), payload, load, MonotonicClock())
        return sorted(served.answers, key=lambda answer: answer.request.id)


def _counted(answers: Sequence[Answer]) -> list[int | None]:
    """Return the server's token count of each prompt; None if it does not report a possible one."""
    return [answer.possible().prompt for answer in answers]
