"""The backend for any server with an OpenAI-compatible API, over a real socket."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmbench import models
from llmbench.backends.base import Backend, BackendReport, LoadShape, OpenContext, Output, Server
from llmbench.backends.endpoint import loopback
from llmbench.backends.endpoint.addresses import round_trip
from llmbench.backends.endpoint.answer import Answer
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.client_hosts import host_of
from llmbench.backends.endpoint.client_pool import ClientPool, start_clients
from llmbench.backends.endpoint.destinations import chosen_model, located
from llmbench.backends.endpoint.destinations import payload as prepared_payload
from llmbench.backends.endpoint.measured_serve import REFUSED, Served, serve
from llmbench.backends.endpoint.openai_types import LENGTH_FIELD, Payload
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.preparation import Preparation
from llmbench.backends.endpoint.prompt_writer import TokenCount
from llmbench.backends.endpoint.record_builder import RecordBuilder
from llmbench.backends.endpoint.server_process import RunningServer, running_server
from llmbench.backends.endpoint.tool_calls import assembled
from llmbench.collectors.base import Access
from llmbench.errors import InputError, MeasurementError
from llmbench.loads.clock import Clock, MonotonicClock
from llmbench.loads.closed import one_after_another
from llmbench.loads.dispatch import Dispatch
from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record
from llmbench.runs.redaction import redact
from llmbench.runs.request import ConstraintKind, Request
from llmbench.scenario.rng import stream
from llmbench.scenario.route import Route
from llmbench.scenario.schema import ModelOptions, ParallelOptions
from llmbench.workloads.contents import Contents

__all__ = ["Endpoint"]

MAX_UNASKED_SHARE = 0.01  # of the prompt tokens
MAX_CLOCK_ERROR_SHARE = 0.05  # of the median TTFT


class Endpoint(Backend):
    """A server with an OpenAI-compatible API, such as vLLM, SGLang, llama.cpp or a hosted one.

    Every request is sent when it is due; tokens are timestamped when their bytes are read from the
    socket, before parsing. Errors are recorded and never end the run.
    """

    Options = EndpointOptions
    has_routes = True
    # seconds before the clock reads 0, so that setup delays no arrival; client processes first get
    # their shards of the load
    lead_seconds, lead_seconds_of_clients, lead_seconds_of_remote_clients = 0.1, 1.0, 3.0
    options: EndpointOptions

    def contents(self, case: str, seed: int) -> Contents:
        """Return text, with a seed of the case's own unless all cases send the same prompts."""
        if self.options.cache.prompts == "same":
            return Contents("text")
        return Contents("text", int(stream(seed, f"contents of {case}").integers(2**32)))

    def check_constraints(self, kinds: AbstractSet[ConstraintKind]) -> None:
        """Raise InputError for tools, which only chats have."""
        if "tools" in kinds and self.options.api != "chat":
            raise InputError(
                "workload: its rows have `tools`, which `api: completions` lacks; set `api: chat`"
            )

    def check_parallel(self, parallel: ParallelOptions, model: ModelOptions) -> None:
        """Raise InputError if the model is to be divided, which is a setting of the server."""
        del model
        if parallel.tensor > 1:
            raise InputError(
                "parallel.tensor: a server divides its model itself, such as vLLM with "
                "`tensor-parallel-size` in `server.arguments`; remove `parallel`"
            )

    def probe(self, model: ModelOptions, routes: Mapping[str, Route]) -> None:
        """Send one short request to every running server, and one of every class.

        Raises InputError, with the server's words, if one refuses, and as `open` does.
        """
        host_of(self.options)
        if self.options.url is None:
            return
        alone = Endpoint(self.options.model_copy(update={"clients": 1}))
        with alone.open(OpenContext(model, LoadShape((1,), 2), routes=routes)) as server:
            for url, refusal in server.preparation.refusals():
                raise InputError(
                    f"endpoint: {url}: refuses a first request "
                    f"({refusal.kind}): {refusal.message}; correct the backend's options"
                )

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[_EndpointServer]:
        """Start the server if configured, get its model's name and start the client processes.

        Raises InputError when the server is unreachable, denies access or lacks the model.
        """
        if context.slowdown:
            raise InputError(
                "endpoint: the steps of a server cannot be delayed; unset LLMBENCH_SLOWDOWN"
            )
        options, model, started = self.options, models.where(context.model), None
        with ExitStack() as stack:
            if options.launched:
                started = stack.enter_context(
                    running_server(options.launched, model, context.log, context.on_stage)
                )
                options = options.model_copy(update={"url": started.url})
            context.on_stage("looking for the server")
            target = located(options, context.routes, context.seed)
            name = chosen_model(options, context, target, model if started else None)
            payload = prepared_payload(options, context, target, name)
            clients, lead_seconds = None, self.lead_seconds
            if options.clients != 1:
                context.on_stage("starting clients")
                clients = stack.enter_context(start_clients(options, target))
                is_local = isinstance(options.clients, int)
                lead_seconds = (
                    self.lead_seconds_of_clients
                    if is_local
                    else self.lead_seconds_of_remote_clients
                )
            yield _EndpointServer(
                options, context, name, target, payload, started, clients, lead_seconds
            )


def _median_ttft(records: Sequence[Record]) -> float | None:
    good = [record.token_times[0] - record.due for record in records if record.succeeded]
    return float(np.median(good)) if good else None


def _output(answer: Answer) -> Output:
    """Return the text of a response, with its tool calls; its content is graded."""
    calls = assembled(text for _, text in answer.calls) or ()
    called = "".join(f"\n{call.name}({call.arguments})" for call in calls)
    return Output(answer.written + called, answer.content, answer.possible().cached)


@dataclass(slots=True)
class _EndpointServer(Server):
    options: EndpointOptions
    context: OpenContext
    model: str
    target: Target
    payload: Payload
    started: RunningServer | None
    clients: ClientPool | None
    lead_seconds: float
    count: TokenCount = field(default_factory=TokenCount)
    sends_ids: bool = False
    length_errors: Sequence[float] = ()
    excess: Sequence[tuple[int, int]] = ()
    counters: Counter[str] = field(default_factory=Counter)
    client: dict[str, float | None] = field(default_factory=dict)
    kept: dict[int, Output] = field(default_factory=dict)
    ttft_seconds: float | None = None

    def new_clock(self) -> MonotonicClock:
        """Return a clock that reads 0 after ``lead_seconds``, so that setup delays no request.

        Before that, the clocks of clients on other machines are compared with it.
        """
        if self.clients:
            self.clients.compare_clocks()
        return MonotonicClock(time.monotonic() + self.lead_seconds)

    @property
    def preparation(self) -> Preparation:
        """What prepares the server for a load."""
        return Preparation(self.options, self.context, self.target, self.payload)

    def prepare(self, requests: Sequence[Request]) -> list[Request]:
        """Write the prompts, and bring the server's prompt cache into its requested state.

        Raises MeasurementError if the server refuses.
        """
        preparation = self.preparation
        written, self.count = preparation.prepare(requests)
        self.payload = preparation.payload
        self.sends_ids = any(request.text is None for request in written)
        return written

    def calibrate(self, dispatch: Dispatch) -> None:
        """Serve the load over loopback connections, to measure the client's own overhead."""
        self.context.on_stage("calibrating the client")
        payload = replace(self.payload, length_field=LENGTH_FIELD)  # which the loopback reads
        if self.clients:
            self.client["round_trip"] = self.clients.round_trip
            cost = self.clients.calibrate(payload, dispatch)
        else:
            trips = [round_trip(upstream.address) for upstream in self.target.upstreams]
            known = (trip for trip in trips if trip is not None)
            self.client["round_trip"] = min(known, default=None)
            clock, target = MonotonicClock(), self.target
            cost = serve(target, payload, dispatch, clock, connect=loopback.connect).cost
        self.client |= {f"floor_{name}": value for name, value in cost.items()}

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]
    ) -> list[Record]:
        served = self._served(dispatch, clock, on_progress)
        tokenizer = models.load_tokenizer(self.context.model)
        urls = [redact(upstream.url) for upstream in self.target.upstreams]
        builder = RecordBuilder(self.context, tokenizer, self.count.template, urls)
        self.kept = {}
        records = [self._record(answer, builder) for answer in served.answers]
        self.client |= served.cost
        self.counters = Counter(served.counts) + builder.counts
        self.length_errors, self.excess = builder.length_errors, builder.excess
        self.ttft_seconds = _median_ttft(records)
        return [*records, *self.clients.lost] if self.clients else records

    def _record(self, answer: Answer, builder: RecordBuilder) -> Record:
        record = builder.record(answer)
        if self.context.keep_answers and not answer.fault:
            self.kept[record.request_id] = _output(answer)
        return record

    def answers(self) -> Mapping[int, Output]:
        """Return the texts of the complete responses of the load."""
        return self.kept

    def answer_alone(self, requests: Sequence[Request]) -> list[Output]:
        """Send requests one by one, with an empty prompt cache if the load began with one.

        Raises MeasurementError if one fails.
        """
        self.preparation.empty_cache()
        self.context.on_stage(f"answering {len(requests)} prompts one at a time")
        served = serve(self.target, self.payload, one_after_another(requests), MonotonicClock())
        answers = sorted(served.answers, key=lambda answer: answer.request.id)
        for answer in answers:
            answer.judge(forced=not self.context.stop_at_eos)
            if answer.fault:
                raise MeasurementError(f"a sequential request failed: {answer.fault.message}")
        return [_output(answer) for answer in answers]

    def _served(self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[], None]) -> Served:
        if self.clients:
            assert isinstance(clock, MonotonicClock)  # noqa: S101 (the only one that clients share)
            return self.clients.serve(self.payload, dispatch, clock, on_progress)
        return serve(self.target, self.payload, dispatch, clock, on_progress)

    def report(self) -> BackendReport:
        own, pool = self.options, self.clients
        settings = {
            "url": self._own_urls, "api": own.api, "model": self.model,
            "stream": own.stream, "connections": own.connections,
            "clients": own.clients if isinstance(own.clients, int) else own.clients.model_dump(),
            "cache": own.cache.mode, "prompts": "token ids" if self.sends_ids else "text",
            "pacing": pool.pacing if pool else own.effective_pacing,
        }  # fmt: skip
        if len(self.options.urls) > 1:
            settings["balance"] = self.options.balance
        if self.started:
            reason = "the server does not report this time"
        else:
            reason = "the server was already running"
        return BackendReport(
            requested={
                **settings,
                "model": self.options.model or self.model,
                "pacing": self.options.pacing,
            },
            effective=settings,
            counters=dict(self.counters),
            client=self.client,
            facts={"clock_offsets": offsets} if (offsets := self._clock_offsets) else {},
            cold_start={"load": self.started.ready_seconds} if self.started else {},
            is_monitored=bool(self.started) or not any(self._are_local),
            reasons=dict.fromkeys(
                ("import", "load", "compile", "first_token", "steady", "self_check"), reason
            ),
            caveats=tuple(self._caveats()),
        )

    @property
    def _own_urls(self) -> str | list[str]:
        first, *others = self.options.urls
        return [first, *others] if others else first

    @property
    def _are_local(self) -> Iterator[bool]:
        return (upstream.address.is_local for upstream in self.target.upstreams)

    def _caveats(self) -> Iterator[Caveat]:
        by_server = self.counters["answers_counted_by_server"]
        by_tokenizer = self.counters["answers_counted_by_tokenizer"]
        answers = by_server + by_tokenizer
        if by_tokenizer:
            yield Caveat("counted-by-tokenizer", answers=by_tokenizer, total=answers)
        if uneven := self.counters["answers_with_uneven_chunks"]:
            yield Caveat("uneven-chunks", answers=uneven, total=answers)
        yield from self._oddity_caveats(answers)
        if wrong := [error for error in self.length_errors if error]:
            yield Caveat(
                "prompt-lengths",
                prompts=len(wrong),
                total=len(self.length_errors),
                mean=100 * float(np.mean(self.length_errors)),
                worst=100 * max(wrong, key=abs),
            )
        yield from self._cache_caveats()
        yield from self._client_caveats()
        for index, upstream in enumerate(self.target.upstreams):
            if refusals := self.counters[f"{REFUSED}{index}"]:
                back_off = self.options.back_off
                yield Caveat(
                    "server-refused", url=upstream.url, refusals=refusals, back_off=back_off
                )

    @property
    def _clock_offsets(self) -> list[dict[str, Any]]:
        return self.clients.clock_offsets if self.clients else []

    def _client_caveats(self) -> Iterator[Caveat]:
        if self.clients:
            yield from self.clients.caveats
        bound = max((o["error_bound_seconds"] for o in self._clock_offsets), default=0.0)
        if self.ttft_seconds is not None and bound > MAX_CLOCK_ERROR_SHARE * self.ttft_seconds:
            yield Caveat("clock-error", bound=1e3 * bound, ttft=1e3 * self.ttft_seconds)

    def _oddity_caveats(self, answers: int) -> Iterator[Caveat]:
        sent, requested = self.payload.length_field, self.options.length_field
        if sent != requested:
            yield Caveat("length-field", requested=requested, sent=sent)
        if impossible := self.counters["answers_with_impossible_usage"]:
            yield Caveat("impossible-usage", answers=impossible, total=answers)
        if self.excess:
            tokens, most = max(self.excess, key=lambda pair: pair[0] - pair[1])
            yield Caveat(
                "longer-than-requested",
                answers=len(self.excess), total=answers, tokens=tokens, requested=most,
            )  # fmt: skip
        if several := self.counters["answers_with_more_choices"]:
            yield Caveat("more-choices", answers=several, total=answers)

    def _cache_caveats(self) -> Iterator[Caveat]:
        cache, counters = self.options.cache, self.counters
        begins_empty = cache.before == "reset" or self.started
        if cache.prompts == "same" and begins_empty:
            return
        share = counters["unasked_cached_tokens"] / max(1, counters["judged_prompt_tokens"])
        if share > MAX_UNASKED_SHARE:
            yield Caveat("unasked-cache-hits", percent=100 * share)
        is_known = counters["answers_with_cached_tokens"] > 0
        if cache.prompts == "same" and cache.prime < 1 and not is_known:
            yield Caveat("cache-unknown")

    @property
    def pid(self) -> int:
        """The process id of the server if llmbench started it, else of this process."""
        return self.started.pid if self.started else os.getpid()

    @property
    def access(self) -> Access:
        """The servers' root URLs, and the API key, headers and TLS settings of requests to them."""
        options = self.options
        roots = tuple(url.removesuffix("/v1") for url in options.urls)
        return Access(roots, options.api_key_env, options.headers, options.verify)
