"""Ask a server, before any load, whether it is there and what it serves."""

from __future__ import annotations

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from urllib.parse import SplitResult

from llmbench.errors import InputError

SECONDS = 10.0
MOST_NAMES = 8


def resolve(url: SplitResult) -> tuple[str, int]:
    """Give the address and port of a server, looked up once so that no request waits for it."""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(
            f"endpoint: {host}: cannot be resolved: {error.strerror}; check the `url`"
        ) from None
    return str(found[0][4][0]), port


def served_model(
    url: SplitResult,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None,
    wanted: str | None,
    launched_with: str | None = None,
) -> str:
    """Give the name to ask for: the one that is wanted, or the first that the server lists.

    A server that lists nothing is taken at the word of whoever wants a name, or is asked for the
    model that it was launched with. Raises InputError when there is no server, it refuses us, or
    it does not serve that name.
    """
    names = _listed(url, headers, tls)
    wanted = wanted or (None if names else launched_with)
    if wanted is None and not names:
        raise InputError(
            f"endpoint: {url.geturl()}/models names no model; set `model` on the backend"
        )
    if wanted and names and wanted not in names:
        near = get_close_matches(wanted, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"endpoint: the server has no model {wanted!r}; {hint}it serves "
            f"{', '.join(names[:MOST_NAMES])}"
        )
    return wanted or names[0]


def _listed(url: SplitResult, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> list[str]:
    address = f"{url.geturl()}/models"
    asked = urllib.request.Request(address, headers=dict(headers))  # noqa: S310 (http or https: the options check)
    # the load goes straight to the server, so this does too, whatever proxy is set
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    try:
        with direct.open(asked, timeout=SECONDS) as answer:
            return _names(answer.read())
    except urllib.error.HTTPError as error:
        return _refused(address, error)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"endpoint: {address}: no answer: {reason}; is the server running, and the `url` right?"
        ) from None


def _refused(address: str, error: urllib.error.HTTPError) -> list[str]:
    """Pass over a server that has no list; explain one that does not let us in."""
    if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise InputError(
            f"endpoint: {address}: HTTP {error.code}; put the key into the environment variable "
            "that `api_key_env` names"
        )
    return []


def _names(body: bytes) -> list[str]:
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []
