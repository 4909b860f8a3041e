"""Settings of the servers that llmbench starts, as sweeps and overrides write them.

``server.arguments.NAME`` is an argument of the server's command, ``server.environment.NAME`` an
environment variable, ``server.KEY`` another key of `server`. They are set in every endpoint.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from llmbench.errors import shown
from llmbench.runs.redaction import masked

SECTION = "server"
ENDPOINT = "endpoint"
NAME = re.compile(r"\w[\w.-]*")


def is_server_key(key: str) -> bool:
    """Return whether a dotted key is a setting of servers."""
    return key.startswith(f"{SECTION}.")


def is_endpoint(backend: Any) -> bool:
    """Return whether a backend, as plain data, can have a server."""
    kind = backend.get("kind") if isinstance(backend, Mapping) else backend
    return kind == ENDPOINT


def own_point(point: Mapping[str, Any], backend: Any) -> dict[str, Any]:
    """Return a sweep point without the settings of servers, unless a backend can have a server."""
    return {k: v for k, v in point.items() if is_endpoint(backend) or not is_server_key(k)}


def written_at(key: str) -> tuple[str, ...]:
    """Return the path of a setting in its backend; all arguments are one text."""
    section, name, *rest = key.split(".")
    return (section, name) if name == "arguments" else (section, name, *rest)


def with_setting(backends: Any, key: str, value: Any) -> list[Any]:
    """Return backends, as plain data, with a setting of the server of each endpoint among them.

    Raises ValueError if there is no endpoint, one has no server, or the value is not valid.
    """
    if not isinstance(backends, list) or not any(map(is_endpoint, backends)):
        raise ValueError(
            "no backend is an endpoint, whose server could have this setting; add "
            "{kind: endpoint, server: {preset: ...}} to `backends`"
        )
    if isinstance(value, dict | list):
        found = shown(masked(value, key.rpartition(".")[2]))
        raise ValueError(  # noqa: TRY004 (the user's mistake, not a type error)
            f"expected text, a number, true, false or null, found {found}"
        )
    return [_with_setting(b, key, value) if is_endpoint(b) else b for b in backends]


def _with_setting(backend: Any, key: str, value: Any) -> dict[str, Any]:
    _, *steps = key.split(".")
    server = backend.get(SECTION) if isinstance(backend, dict) else None
    if not isinstance(server, dict):
        name = backend.get("name", ENDPOINT) if isinstance(backend, dict) else ENDPOINT
        raise ValueError(  # noqa: TRY004 (the user's mistake, not a type error)
            f"backend {name} has no `server`, which llmbench would start with this setting; "
            "replace its `url`, or measure it in a scenario of its own"
        )
    return {**backend, SECTION: _changed(server, steps, value)}


def _changed(server: dict[str, Any], steps: list[str], value: Any) -> dict[str, Any]:
    first, name = steps[0], ".".join(steps[1:])
    if not name:
        return {**server, first: value}
    if first == "arguments":
        return {**server, first: _with_argument(server.get(first, ""), name, value)}
    if first == "environment":
        return {**server, first: _with_variable(server.get(first, {}), name, value)}
    inner = server.get(first)
    return {**server, first: _changed(inner if isinstance(inner, dict) else {}, steps[1:], value)}


# -- arguments -------------------------------------------------------------------------------------


def as_command_line(arguments: Any) -> Any:
    """Return a mapping of arguments as text, ``--max-num-seqs 64``; text is returned as it is."""
    if not isinstance(arguments, Mapping):
        return arguments
    return " ".join(filter(None, (_argument(str(k), v) for k, v in arguments.items())))


def _argument(name: str, value: Any) -> str:
    """Return an argument as text: ``--name value``; true is ``--name``, false and null nothing."""
    if not NAME.fullmatch(name):
        raise ValueError(f"expected names without dashes before them, such as max-num-seqs: {name}")
    if isinstance(value, Mapping | list):
        raise ValueError(f"{name}: expected text, a number, true, false or null")  # noqa: TRY004 (the user's mistake)
    if value is None or value is False:
        return ""
    return _flag(name) if value is True else f"{_flag(name)} {shlex.quote(str(value))}"


def _flag(name: str) -> str:
    return f"-{name}" if len(name) == 1 else f"--{name}"


def _with_argument(arguments: Any, name: str, value: Any) -> Any:
    """Return arguments with one set, unchanged if they have it with this value.

    In a mapping it replaces another value of the same name. Raises ValueError for text with another
    value of it.
    """
    text = _argument(name, value)
    if isinstance(arguments, Mapping):
        others = {k: v for k, v in arguments.items() if _plain(str(k)) != _plain(name)}
        return {**others, name: value}
    words, own = shlex.split(str(arguments)), shlex.split(text)
    if own and any(words[at : at + len(own)] == own for at in range(len(words))):
        return arguments
    flags = (word.partition("=")[0] for word in words if word.startswith("-"))
    if any(_plain(flag) == _plain(name) for flag in flags):
        raise ValueError(
            f"`server.arguments` already has --{name}; write them as a mapping, such as "
            f"arguments: {{{name}: {value}}}"
        )
    return f"{arguments} {text}".strip()


def with_mark(backends: list[Any], key: str, value: Any, mark: str) -> list[Any]:
    """Return backends with a text in place of a setting's value, for display."""
    _, section, *name = key.split(".")
    if section != "arguments" or not name:
        return with_setting(backends, key, mark)
    return [_with_mark(b, ".".join(name), value, mark) if is_endpoint(b) else b for b in backends]


def _with_mark(backend: dict[str, Any], name: str, value: Any, mark: str) -> dict[str, Any]:
    server = backend[SECTION]
    arguments, written = server.get("arguments", ""), _argument(name, value)
    marked = f"{_flag(name)} {mark}"
    is_there = written and written in arguments
    text = arguments.replace(written, marked) if is_there else f"{arguments} {marked}".strip()
    return {**backend, SECTION: {**server, "arguments": text}}


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


# -- environment variables -------------------------------------------------------------------------


def _with_variable(environment: Any, name: str, value: Any) -> Any:
    """Return environment variables with one set to a value, as text; null leaves it out."""
    if isinstance(value, bool):
        raise ValueError(  # noqa: TRY004 (the user's mistake, not a type error)
            f"{name}: expected text or a number, found {str(value).lower()}; write what the server "
            "reads, such as 1 or 'true'"
        )
    if not isinstance(environment, Mapping):
        raise ValueError("`server.environment` has no keys: it is a list or a single value")  # noqa: TRY004 (the user's mistake)
    others = {k: v for k, v in environment.items() if k != name}
    return others if value is None else {**others, name: str(value)}
