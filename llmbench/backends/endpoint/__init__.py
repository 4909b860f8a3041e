"""Any server that speaks OpenAI's API, over a real socket."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from llmbench import caveats, models
from llmbench.backends.base import Account, Demand, OpenContext
from llmbench.backends.endpoint import null
from llmbench.backends.endpoint.client import Client, Target
from llmbench.backends.endpoint.launched import Launched, launched
from llmbench.backends.endpoint.options import EndpointOptions
from llmbench.backends.endpoint.payload import Payload, head
from llmbench.backends.endpoint.records import Accountant
from llmbench.backends.endpoint.server_info import resolve, served_model
from llmbench.backends.endpoint.watched import watched
from llmbench.backends.garbage import frozen_garbage
from llmbench.caveats import Caveat
from llmbench.clock import Clock, MonotonicClock
from llmbench.dispatch import Dispatch
from llmbench.record import Record

__all__ = ["Endpoint"]


class Endpoint:
    """A server that speaks OpenAI's API, such as vLLM, SGLang, llama.cpp or a hosted one.

    Every request is sent when it is due; tokens are stamped when they are read off the socket,
    before anything is parsed. Errors are records by kind and never end the run.
    """

    Options = EndpointOptions
    sends_text = True

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options

    @contextmanager
    def open(self, context: OpenContext) -> Iterator[_EndpointServer]:
        """Find the server and what it calls its model.

        Raises InputError when it is not there, refuses us, or has no such model.
        """
        with self._running(context) as (options, started):
            yield _opened(options, context, started)

    @contextmanager
    def _running(self, context: OpenContext) -> Iterator[tuple[EndpointOptions, Launched | None]]:
        """Start the server where the scenario says so; give options that know its address."""
        if self.options.server is None:
            yield self.options, None
            return
        where = models.where(context.model)
        with launched(self.options.server, where, context.log, context.on_stage) as started:
            yield self.options.model_copy(update={"url": started.url}), started


def _opened(
    options: EndpointOptions, context: OpenContext, started: Launched | None
) -> _EndpointServer:
    context.on_stage("looking for the server")
    host, port = resolve(options.base)
    tls, credentials = options.tls(), options.credentials()
    wanted = options.model or models.served_name(context.model)
    launched_with = models.where(context.model) if started else None
    name = served_model(options.base, credentials, tls, wanted, launched_with)
    server_name = options.base.hostname if tls else None
    idle = options.max_idle if options.connections == "reuse" else 0.0
    target = Target(
        host,
        port,
        tls,
        server_name,
        options.stream,
        _needs_done(options),
        idle,
        options.retries,
        options.timeouts,
    )
    payload = _payload(options, context, name)
    return _EndpointServer(options, context, name, target, payload, started)


def _payload(options: EndpointOptions, context: OpenContext, model: str) -> Payload:
    headers = {
        "Host": options.base.netloc,
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if options.stream else "application/json",
        **options.credentials(),
    }
    usual = options.server.whole.body if options.server else {}
    body = {**_settings(options, context, model), **usual, **options.body}
    given = {key: value for key, value in body.items() if value is not None}
    return Payload(head(options.path, headers), given, chat=options.api == "chat")


def _needs_done(options: EndpointOptions) -> bool:
    usual = options.server is None or options.server.whole.needs_done
    return usual if options.needs_done is None else options.needs_done


def _settings(options: EndpointOptions, context: OpenContext, model: str) -> dict[str, Any]:
    sampling = context.sampling
    return {
        "model": model,
        "stream": options.stream,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.temperature else None,
        "seed": context.seed if sampling.temperature else None,
        # not OpenAI's, but what open servers call forcing the length of an answer
        "ignore_eos": None if context.stop_at_eos else True,
        "stream_options": ({"include_usage": True} if options.stream and options.usage else None),
    }


@dataclass(slots=True)
class _EndpointServer:
    options: EndpointOptions
    context: OpenContext
    model: str
    target: Target
    payload: Payload
    started: Launched | None
    counters: Counter[str] = field(default_factory=Counter)
    client: dict[str, float | None] = field(default_factory=dict)

    def new_clock(self) -> Clock:
        return MonotonicClock()

    def calibrate(self, dispatch: Dispatch) -> None:
        """Serve a load from within this process: what is seen then is the client's own doing."""
        self.context.on_stage("calibrating the client")
        client = Client(self.target, self.payload, self.new_clock(), lambda _: None, null.connect)
        self.client |= {f"floor_{name}": value for name, value in watched(client, dispatch).items()}

    def serve(
        self, dispatch: Dispatch, clock: Clock, on_progress: Callable[[int], None]
    ) -> list[Record]:
        _raise_limit_of_files()
        client = Client(self.target, self.payload, clock, on_progress)
        with frozen_garbage() as collections:
            self.client |= watched(client, dispatch)
        accountant = Accountant(self.context, models.load_tokenizer(self.context.model))
        records = [accountant.record(exchange) for exchange in client.exchanges]
        self.counters = client.counts + accountant.counts
        self.counters["gc_collections"] = len(collections)
        return records

    def account(self) -> Account:
        settings = {
            "url": self.options.base.geturl(), "api": self.options.api, "model": self.model,
            "stream": self.options.stream, "connections": self.options.connections,
        }  # fmt: skip
        return Account(
            requested={**settings, "model": self.options.model or self.model},
            effective=settings,
            counters=dict(self.counters),
            client=self.client,
            cold_start={"load": self.started.ready_seconds} if self.started else {},
            reasons=dict.fromkeys(
                ("import", "load", "compile", "first_token", "steady"),
                "the server does not tell" if self.started else "the server was running already",
            ),
            caveats=tuple(self._caveats()),
        )

    def _caveats(self) -> Iterator[Caveat]:
        by_server = self.counters["answers_counted_by_server"]
        by_tokenizer = self.counters["answers_counted_by_tokenizer"]
        answers = by_server + by_tokenizer
        if by_tokenizer:
            yield caveats.counted_by_tokenizer(by_tokenizer, answers)
        if uneven := self.counters["answers_with_uneven_chunks"]:
            yield caveats.uneven_chunks(uneven, answers)

    @property
    def pid(self) -> int:
        """The server's, where it was started here; else this client's own."""
        return self.started.pid if self.started else os.getpid()

    @property
    def torch_model(self) -> None:
        return None

    def scorer(self, demand: Demand) -> None:
        """Show no logits: they stay on the server."""


def _raise_limit_of_files() -> None:
    """Allow as many connections as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
