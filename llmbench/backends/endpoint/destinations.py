"""Where the requests of a load go, fixed before it: servers, models, HTTP heads and body fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from llmbench import models
from llmbench.backends.base import OpenContext
from llmbench.backends.endpoint.addresses import resolve
from llmbench.backends.endpoint.balancing import Upstream
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.openai_types import Envelope, Payload, head
from llmbench.backends.endpoint.options import PATHS, EndpointOptions
from llmbench.backends.endpoint.server_info import served_models
from llmbench.errors import InputError
from llmbench.scenario.http_fields import base_url
from llmbench.scenario.route import Route
from llmbench.scenario.secrets import check_header, expanded

Routes = Mapping[str, Route]
Fields = dict[str, Any]


def located(options: EndpointOptions, routes: Routes, seed: int = 0) -> Target:
    """Resolve the names of all servers and return the target of requests.

    ``seed`` is that of random choices of a server. Raises InputError for an unknown name.
    """
    urls = list(dict.fromkeys((*options.urls, *(_url(route) for route in routes.values()))))
    urls = [url for url in urls if url]
    upstreams = [Upstream(url, resolve(urlsplit(url))) for url in urls]
    own = len(options.urls)
    pinned = {name: urls.index(url) for name, route in routes.items() if (url := _url(route))}
    addresses = (upstream.address for upstream in upstreams[:own])
    return options.target(*addresses, others=upstreams[own:], pinned=pinned, seed=seed)


def _url(route: Route) -> str:
    return base_url(route.url) if route.url else ""


# -- credentials -----------------------------------------------------------------------------------


def credentials(options: EndpointOptions, upstream: Upstream) -> dict[str, str]:
    """Return the headers with secrets that a server gets: none if only a class names this server.

    The API key and the headers of the backend are for its own servers.
    """
    return options.credentials() if _is_own(options, upstream) else {}


def _is_own(options: EndpointOptions, upstream: Upstream) -> bool:
    """Return whether a server is one of the backend's, by scheme, host and port."""
    return upstream.parts[:2] in {urlsplit(url)[:2] for url in options.urls}


def class_headers(name: str, route: Route) -> dict[str, str]:
    """Return the headers of a class with environment variables expanded; raises InputError."""
    key = f"workload.classes.{name}.headers"
    headers = {field: expanded(text, key).strip() for field, text in route.headers.items()}
    return {field: check_header(field, text) for field, text in headers.items()}


def merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Return headers, of which a later one replaces an earlier one of the same name."""
    by_name = {name.lower(): (name, text) for part in parts for name, text in part.items()}
    return dict(by_name.values())


# -- models ----------------------------------------------------------------------------------------


def chosen_model(
    options: EndpointOptions, context: OpenContext, target: Target, launched_with: str | None
) -> str:
    """Return the name of the model that requests name, unless their class names its own.

    Raises InputError if a server cannot be reached, denies access, or lacks a model that it is
    asked for.
    """
    balance, model = target.balance, options.model or models.served_name(context.model)
    for index, upstream in enumerate(target.upstreams):
        own = {n: route for n, route in context.routes.items() if balance.may_get(index, n)}
        tls, headers = upstream.tls(target.tls), _headers(options, upstream, own)
        served = served_models(upstream.url, upstream.address, headers, tls)
        if index < balance.servers:
            model = served.choose(model, launched_with)
        for route in own.values():
            for asked in route.model.names if route.model else [model]:
                served.choose(asked)
    return model or ""


def _headers(options: EndpointOptions, upstream: Upstream, routes: Routes) -> dict[str, str]:
    """Return the headers with which the models of a server are listed.

    They are those of the backend, or of the first class that has the server for itself.
    """
    if _is_own(options, upstream):
        return options.credentials()
    return next((class_headers(name, route) for name, route in routes.items()), {})


# -- heads and fields ------------------------------------------------------------------------------


def payload(options: EndpointOptions, context: OpenContext, target: Target, model: str) -> Payload:
    """Return what encodes the requests of a load: all but the prompts is prepared.

    Raises InputError for a field of a class that the workload sets, and for an unset variable.
    """
    fields = _fields(options, context, model)
    return Payload(
        Envelope(tuple(_heads(options, target, {})), _given(fields)),
        options.api == "chat",
        options.length_field,
        _session(options, context),
        {
            name: _of_class(name, route, options, target, fields)
            for name, route in context.routes.items()
        },
    )


def _of_class(
    name: str, route: Route, options: EndpointOptions, target: Target, fields: Fields
) -> Envelope:
    if options.length_field in route.body:
        raise InputError(
            f"workload.classes.{name}.body: has `{options.length_field}`, which the workload sets; "
            "remove it"
        )
    own = expanded(route.fields, f"workload.classes.{name}.body")
    headers = class_headers(name, route)
    return Envelope(tuple(_heads(options, target, headers)), _given({**fields, **own}))


def _heads(options: EndpointOptions, target: Target, own: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the head of requests to each server."""
    for upstream in target.upstreams:
        standard = {
            "Host": upstream.parts.netloc,
            "Content-Type": "application/json",
            "Accept": "text/event-stream" if options.stream else "application/json",
        }
        headers = merged(standard, credentials(options, upstream), own)
        yield head(upstream.parts.path + PATHS[options.api], headers)


def _session(options: EndpointOptions, context: OpenContext) -> bytes:
    """Return the begin of the header with the session's id: its name, and the seed of the run."""
    if options.session_header is None:
        return b""
    return f"{options.session_header}: {context.seed}-".encode("latin-1")


def _given(fields: Fields) -> Fields:
    return {key: value for key, value in fields.items() if value is not None}


def _fields(options: EndpointOptions, context: OpenContext, model: str) -> Fields:
    sampling = context.sampling
    return {
        "model": model,
        "stream": options.stream,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p if sampling.temperature else None,
        "seed": context.seed if sampling.temperature else None,
        # not OpenAI's; open-source servers accept it, to force the length of an answer
        "ignore_eos": None if context.stop_at_eos else True,
        "stream_options": {"include_usage": True} if options.stream and options.usage else None,
        **(options.server.resolved.body if options.server else {}),
        **expanded(options.body, "body"),
    }
