"""The models that a server lists, read before the load."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from http import HTTPStatus

from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.fetch import fetch
from llmbench.backends.endpoint.limits import MODEL_NAME_LENGTH, MODELS
from llmbench.errors import InputError

TIMEOUT_SECONDS = 10.0
MAX_NAMES = 8
MAX_SHOWN_LENGTH = 100


@dataclass(frozen=True, slots=True)
class ServedModels:
    """The names of the models that a server lists, or the reason why it lists none."""

    url: str
    names: list[str]
    reason: str = ""

    def choose(self, wanted: str | None, launched_with: str | None = None) -> str:
        """Return the model name for requests: ``wanted``, or the first one listed by the server.

        If the server lists no model, use ``wanted`` or the model that the server was launched with.
        Raises InputError when the server does not list ``wanted``, or nothing is known.
        """
        names = self.names
        wanted = wanted or (None if names else launched_with)
        if wanted is None and not names:
            raise InputError(
                f"endpoint: {self.url}/models lists no model{self.reason}; set `model` on the "
                "backend"
            )
        if wanted and names and wanted not in names:
            near = get_close_matches(wanted, names, n=1)
            hint = f"did you mean {near[0][:MAX_SHOWN_LENGTH]!r}? " if near else ""
            shown = ", ".join(name[:MAX_SHOWN_LENGTH] for name in names[:MAX_NAMES])
            raise InputError(
                f"endpoint: {self.url}: the server has no model {wanted[:MAX_SHOWN_LENGTH]!r}; "
                f"{hint}set `model` to one that it serves: {shown}"
            )
        return wanted or names[0]


def served_models(
    url: str, address: Address, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> ServedModels:
    """Return the models that a server lists.

    Raises InputError when the server is unreachable or denies access.
    """
    return ServedModels(url, *_listed(f"{url}/models", address, headers, tls))


def _listed(
    url: str, address: Address, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> tuple[list[str], str]:
    """Return the names of the server's models, and a reason if its reply has none."""
    reply = fetch(url, address, headers=headers, tls=tls, seconds=TIMEOUT_SECONDS)
    if reply.status is None:
        raise InputError(
            f"endpoint: {url}: no valid response: {reply.fault}; start the server, or correct the "
            "`url`"
        )
    if reply.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise InputError(
            f"endpoint: {url}: HTTP {reply.status}; set the environment variable named by "
            "`api_key_env` to a valid API key"
        )
    if reply.fault:
        return [], f": {reply.fault}"
    if reply.status != HTTPStatus.OK:
        return [], f": HTTP {reply.status}"
    return _names(reply.content), ""


def _names(body: bytes) -> list[str]:
    try:
        models = json.loads(body)["data"][:MODELS]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    names = [model.get("id") for model in models if isinstance(model, dict)]
    return [name for name in names if isinstance(name, str) and _is_name(name)]


def _is_name(name: str) -> bool:
    return 0 < len(name) <= MODEL_NAME_LENGTH and name.isprintable()
