"""Secrets of an endpoint: a scenario names their environment variables and never contains them."""

from __future__ import annotations

import os
import re
import shlex
from itertools import pairwise
from typing import Any, TypeVar

from pydantic_core import PydanticCustomError

from llmbench.errors import InputError
from llmbench.runs.redaction import find_literal, is_secret

FROM_ENVIRONMENT = re.compile(r"\$\{(\w+)\}")
UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # in an HTTP header

T = TypeVar("T")


def check_variable(name: str) -> str:
    """Return the name of a secret variable; raises ValueError if it would not be redacted."""
    if not is_secret(name):
        raise ValueError(
            f"{name} would not be redacted; name the variable ..._KEY, ..._TOKEN or ..._SECRET"
        )
    return name


def without_secrets(value: T) -> T:
    """Return options that contain no secret; raises an error that does not show it otherwise."""
    if (name := find_literal(value)) is not None:
        raise literal_error(name)
    return value


def command_without_secrets(text: str) -> str:
    """Return a command line whose secrets are variables, such as ``--api-key ${MY_API_KEY}``."""
    words = shlex.split(text)
    for word, following in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        argument = value if equals or following.startswith("-") else following
        if find_literal(word) is not None or find_literal(argument, name) is not None:
            raise literal_error(name)
    return text


def literal_error(name: str) -> PydanticCustomError:
    """Return the error of an option that contains a secret, which is not shown."""
    message = "take the value from an environment variable: '${MY_API_KEY}'"
    prefix = f"{name.lstrip('-')}: " if name else ""
    return PydanticCustomError("secret", "{message}", {"message": prefix + message})


def expanded(value: Any, key: str) -> Any:
    """Return options with ``${NAME}`` replaced by the environment variable.

    Raises InputError, with the option's ``key``, for an unset variable.
    """

    def variable(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise InputError(
                f"endpoint: {key}: the environment variable {match[1]} is not set; set it"
            ) from None

    match value:
        case str():
            return FROM_ENVIRONMENT.sub(variable, value)
        case dict():
            return {name: expanded(inner, key) for name, inner in value.items()}
        case list() | tuple():
            return [expanded(inner, key) for inner in value]
    return value


def check_header(name: str, value: str) -> str:
    """Return the value of an HTTP header; raises InputError, without it, if it cannot be sent."""
    if UNSENDABLE.search(value):
        raise InputError(
            f"endpoint: headers: {name}: has a line break or a character that HTTP headers cannot "
            "contain; check the environment variable that it is taken from"
        )
    return value
