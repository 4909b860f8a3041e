"""Find a server's address and model name before the load."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from difflib import get_close_matches
from http import HTTPStatus
from itertools import chain
from urllib.parse import SplitResult

import psutil

from llmbench.errors import InputError

TIMEOUT_SECONDS = 10.0
MAX_NAMES = 8


def resolve(url: SplitResult) -> tuple[str, int]:
    """Return a server's address and port, resolved once so that no request waits for DNS."""
    host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(
            f"endpoint: {host}: cannot be resolved: {error.strerror}; check the `url`"
        ) from None
    return str(addresses[0][4][0]), port


def is_local(address: str) -> bool:
    """Return whether an IP address is one of this machine's."""
    own = (known.address for known in chain.from_iterable(psutil.net_if_addrs().values()))
    return ipaddress.ip_address(address).is_loopback or address in own


def served_model(
    url: SplitResult,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None,
    wanted: str | None,
    launched_with: str | None = None,
) -> str:
    """Return the model name for requests: ``wanted``, or the first one listed by the server.

    If the server lists no model, use ``wanted`` or the model that the server was launched with.
    Raises InputError when the server is unreachable, denies access or does not list ``wanted``.
    """
    names = _listed(url, headers, tls)
    wanted = wanted or (None if names else launched_with)
    if wanted is None and not names:
        raise InputError(
            f"endpoint: {url.geturl()}/models lists no model; set `model` on the backend"
        )
    if wanted and names and wanted not in names:
        near = get_close_matches(wanted, names, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"endpoint: the server has no model {wanted!r}; {hint}set `model` to one that it "
            f"serves: {', '.join(names[:MAX_NAMES])}"
        )
    return wanted or names[0]


def _listed(url: SplitResult, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> list[str]:
    address = f"{url.geturl()}/models"
    request = urllib.request.Request(address, headers=dict(headers))  # noqa: S310 (http or https: the options check)
    # without a proxy, like the load
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    try:
        with direct.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return _names(answer.read())
    except urllib.error.HTTPError as error:
        if error.code not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return []
        raise InputError(
            f"endpoint: {address}: HTTP {error.code}; set the environment variable named by "
            "`api_key_env` to a valid API key"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"endpoint: {address}: no valid response: {reason}; start the server, or "
            "correct the `url`"
        ) from None


def _names(body: bytes) -> list[str]:
    try:
        return [str(model["id"]) for model in json.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return []
