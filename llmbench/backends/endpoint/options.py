"""The options of an endpoint, and the address, credentials and TLS settings that they define."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmbench import plugins
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.balancing import Balance, Upstream
from llmbench.backends.endpoint.client import Target
from llmbench.backends.endpoint.openai_types import LENGTH_FIELD
from llmbench.backends.endpoint.prompt_cache import RESETS, CacheOptions, Reset
from llmbench.backends.endpoint.server_process import ServerOptions
from llmbench.environment import usable_cores
from llmbench.errors import InputError
from llmbench.scenario.http_fields import HEADER, ApiKeyEnv, Body, Headers, base_url, check_url
from llmbench.scenario.replicas import Policy
from llmbench.scenario.schema import CLIENTS
from llmbench.scenario.secrets import check_header, expanded
from llmbench.units import Seconds

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
SPIN_SECONDS = 0.2e-3  # a process wakes up later than that only when the machine is busy
NONE_PINNED: Mapping[str, int] = MappingProxyType({})
OTHER_FIELDS = ("model", "stream", "messages", "prompt")  # which cannot hold the length


def _urls(given: Any) -> str | list[str]:
    if isinstance(given, str):
        return check_url(given)
    if not isinstance(given, list) or not given or not all(isinstance(url, str) for url in given):
        raise ValueError("expected a URL, or a list of at least one")
    urls = list(map(check_url, given))
    if len(set(map(base_url, urls))) < len(urls):
        raise ValueError("a URL is listed twice; remove one of them")
    return urls


Urls = Annotated[str | list[str], BeforeValidator(_urls)]


class RayClients(plugins.Options):
    """``{ray: 4, address: auto}``: clients on the nodes of a Ray cluster."""

    ray: int = Field(
        strict=True, ge=1, le=256, description="number of clients, spread over the nodes"
    )
    address: str = Field(
        default="auto",
        min_length=1,
        description="`auto`: the running cluster; `local`: one on this machine; or its host:port",
    )


def _form_of_clients(given: Any) -> str:
    return CLIENTS[isinstance(given, dict | RayClients)]


LocalClients = Annotated[int, Field(strict=True, ge=1, le=64)]
Clients = Annotated[
    Annotated[LocalClients, Tag(CLIENTS[False])] | Annotated[RayClients, Tag(CLIENTS[True])],
    Discriminator(_form_of_clients),
]


class EndpointOptions(plugins.Options):
    """``{kind: endpoint, url: "http://localhost:8000", api: chat}``."""

    url: Urls | None = Field(
        default=None,
        description="URL of the server, or a list of several; /v1 is added if it has no path",
    )
    balance: Policy = Field(
        default="round-robin",
        description="which of several servers gets a request: each in turn, the one with the fewest"
        " of the client's requests in flight, the less loaded of two at random, or that of its"
        " session or prefix",
    )
    back_off: Seconds = Field(
        default=1.0,
        gt=0,
        description="time for which one of several servers gets no requests after it refused a"
        " connection",
    )
    server: ServerOptions | None = Field(
        default=None, description="server to start and stop, instead of `url`"
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        description="model name on the server; default: NAME of `served:NAME`, or the first listed",
    )
    api: Literal["chat", "completions"] = Field(default="chat", description="OpenAI API to call")
    stream: bool = Field(default=True, description="request streamed responses")
    needs_done: bool | None = Field(
        default=None, description="streams must end with [DONE]; if false, with a finish_reason"
    )
    usage: bool = Field(default=True, description="request token counts in streamed responses")
    length_field: Annotated[str, Field(min_length=1)] | None = Field(
        default=LENGTH_FIELD,
        description="field of the request with the number of tokens to generate; null: none",
    )
    body: Body = Field(
        default_factory=dict,
        description="extra fields of the request body; null removes a field, ${NAME} is an"
        " environment variable",
    )
    headers: Headers = Field(
        default_factory=dict, description="extra HTTP headers; ${NAME} is an environment variable"
    )
    session_header: Annotated[str, Field(pattern=f"^{HEADER.pattern}$")] | None = Field(
        default=None,
        description="name of a header with the session's id, for routers that keep sessions on one"
        " server",
    )
    api_key_env: ApiKeyEnv = Field(
        default="OPENAI_API_KEY", description="name of the environment variable with the API key"
    )
    verify: bool | str = Field(
        default=True, description="verify the server's TLS certificate: true, false or a CA file"
    )
    connections: Literal["reuse", "fresh"] = Field(
        default="reuse", description="reuse connections, or open a fresh one per request"
    )
    max_idle: Seconds = Field(default=4.0, gt=0, description="maximum idle time before reuse")
    connect_timeout: Seconds = Field(default=10.0, gt=0, description="maximum time to connect")
    first_token_timeout: Seconds = Field(
        default=300.0, gt=0, description="maximum time to the first token"
    )
    total_timeout: Seconds = Field(default=600.0, gt=0, description="maximum time of a request")
    cache: CacheOptions = Field(
        default=CacheOptions(), description="state of the server's prompt cache"
    )
    devices: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="number of GPUs of all servers, for throughput per GPU; if unset, the product"
        " of the parallel sizes in the arguments of a launched vLLM or SGLang",
    )
    clients: Clients = Field(
        default=1,
        description="client processes that share the load, on this machine or on Ray nodes",
    )
    pacing: Literal["precise", "frugal"] = Field(
        default="precise",
        description="how the client waits for due times: awake for the last 0.2 ms if it has a"
        " core to spare, or asleep",
    )
    retries: int = Field(
        default=0, ge=0, le=1000, description="maximum retries of a request without output"
    )

    @model_validator(mode="after")
    def _has_a_server(self) -> EndpointOptions:
        if (self.url is None) == (self.server is None):
            raise ValueError("expected either `url` or `server`")
        if self.cache.before == "reset" and not self.reset:
            raise ValueError(
                f"`cache.before: reset` needs `cache.reset`: {', '.join(RESETS)} or a URL path"
            )
        return self

    @model_validator(mode="after")
    def _has_one_length(self) -> EndpointOptions:
        name = self.length_field
        if name in OTHER_FIELDS:
            raise ValueError(f"`length_field` is {name}, which has another meaning; rename it")
        if name in self.body:
            raise ValueError(
                f"`body` has `{name}`, which the workload sets; remove it, or set `length_field` "
                "to another name, or to null to send no length"
            )
        return self

    @property
    def effective_pacing(self) -> str:
        """The pacing: precise only if each client has a core, and the machine has more.

        With clients on other machines, it is that of one alone on this machine.
        """
        clients = self.clients if isinstance(self.clients, int) else 1
        has_core = usable_cores() >= clients < (os.cpu_count() or 1)
        return self.pacing if has_core else "frugal"

    @property
    def reset(self) -> Reset | None:
        """How the server's prompt cache is emptied, or None if unknown."""
        own = self.cache.reset or (self.server and self.server.preset) or ""
        return Reset(own) if own.startswith("/") else RESETS.get(own)

    @property
    def launched(self) -> ServerOptions | None:
        """The server to start, with what emptying its prompt cache needs."""
        if self.server is None or self.cache.before == "none" or self.reset is None:
            return self.server
        arguments = f"{self.server.arguments} {self.reset.arguments}"
        environment = {**self.reset.environment, **self.server.environment}
        return self.server.model_copy(update={"arguments": arguments, "environment": environment})

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of the servers with their paths, by default /v1."""
        urls = self.url if isinstance(self.url, list) else [self.url] if self.url else []
        return tuple(map(base_url, urls))

    @property
    def base(self) -> SplitResult:
        """The parts of the first server's URL."""
        return urlsplit(self.urls[0])

    def target(
        self,
        *addresses: Address,
        others: Sequence[Upstream] = (),
        pinned: Mapping[str, int] = NONE_PINNED,
        seed: int = 0,
    ) -> Target:
        """Return the servers and connection settings of requests; raises as `tls` does.

        ``addresses`` are those of the servers, ``others`` further ones that request classes have
        for themselves, by ``pinned``. ``seed`` is that of random choices of a server.
        """
        own = tuple(map(Upstream, self.urls, addresses))
        upstreams = (*own, *others)
        is_secure = any(upstream.parts.scheme == "https" for upstream in upstreams)
        default = self.server is None or self.server.resolved.needs_done
        return Target(
            upstreams=upstreams,
            balance=Balance(self.balance, self.back_off, len(own), pinned, seed),
            tls=self.tls() if is_secure else None,
            streamed=self.stream,
            needs_done=default if self.needs_done is None else self.needs_done,
            max_idle=self.max_idle if self.connections == "reuse" else 0.0,
            retries=self.retries,
            connect_timeout=self.connect_timeout,
            first_token_timeout=self.first_token_timeout,
            total_timeout=self.total_timeout,
            limits_length=self.length_field is not None,
            spin_seconds=SPIN_SECONDS if self.effective_pacing == "precise" else 0.0,
        )

    def credentials(self) -> dict[str, str]:
        """Return the authorization and scenario headers with environment variables expanded.

        Raises InputError for an unset variable, and for one that a header cannot contain.
        """
        key = os.environ.get(self.api_key_env, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= {name: expanded(text, "headers").strip() for name, text in self.headers.items()}
        return {name: check_header(name, value) for name, value in headers.items()}

    def tls(self) -> ssl.SSLContext:
        """Return the TLS context of https; raises InputError if the CA file is unreadable."""
        authorities = str(Path(self.verify).expanduser()) if isinstance(self.verify, str) else None
        try:
            context = ssl.create_default_context(cafile=authorities)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"endpoint: verify: {authorities}: {error}; set the path of a PEM file"
            ) from None
        if self.verify is False:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
